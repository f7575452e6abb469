# Every target sets up what it needs first, and says what it installs.
.PHONY: run test lint docs bench clean

run:
	@scripts/setup run
	@scripts/first-vm

test:
	@scripts/setup test
	@scripts/test

lint:
	@scripts/setup test
	@scripts/lint

docs:
	@scripts/setup test
	@for page in scripts/generate_*.py; do .venv/bin/python $$page; done
	@scripts/docs
	@echo build/docs/index.html

bench:
	@scripts/setup test
	@for bench in bench/*.py; do echo "== $$bench"; .venv/bin/python $$bench; done

clean:
	rm -rf .venv .setup build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
