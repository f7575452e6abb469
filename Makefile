# Every target sets up what it needs first and says what it installs.
PYTHON ?= python3

.PHONY: run test lint docs bench clean setup

setup:
	@scripts/setup

run: setup
	@scripts/first-vm

test: setup
	@scripts/test

lint: setup
	@scripts/lint

docs: setup
	@.venv/bin/python -m scripts.docs

bench: setup
	@.venv/bin/python -m bench

clean:
	rm -rf .venv .setup build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
