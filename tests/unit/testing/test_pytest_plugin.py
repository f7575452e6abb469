"""The fixtures for authors, in test runs of their own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from banger_core.engine.startup import READY_MARK
from banger_core.testing import leaks
from banger_core.testing.fakes import vmm

pytest_plugins = "pytester"


def test_importing_the_plugin_is_light():
    code = (
        "import sys, pytest; before = set(sys.modules); import banger_core.testing.pytest_plugin; "
        "print(sorted(set(sys.modules) - before))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = {"banger_core", "banger_core.testing", "banger_core.testing.pytest_plugin"}
    assert set(eval(found.stdout)) == modules


def test_strangers_tests_are_left_alone(pytester):
    pytester.makepyfile(
        """
        import os, subprocess
        def test_mine():
            os.environ["MINE"] = "1"
            subprocess.Popen(["sleep", "0.2"])
        """
    )
    pytester.runpytest_subprocess("--strict-config", "--strict-markers").assert_outcomes(passed=1)


def test_leaks_fail_a_test_that_asked_for_it(pytester):
    pytester.makeini("[pytest]\nbanger_leak_checks = true\n")
    pytester.makepyfile(
        """
        import os, subprocess
        from banger_core.testing import leaks
        leaks._GRACE = 0.0
        def test_clean(monkeypatch):
            monkeypatch.setenv("BANGER_X", "1")
            subprocess.run(["true"])
        def test_environment():
            os.environ["BANGER_LEAK"] = "1"
        def test_child():
            global child
            child = subprocess.Popen(["sleep", "321"])
        """
    )
    found = pytester.runpytest_subprocess()
    found.assert_outcomes(passed=3, errors=2)
    found.stdout.fnmatch_lines(["*changed the environment: BANGER_LEAK", "*behind: *sleep 321"])


@pytest.mark.parametrize("workers", [(), ("-n", "1")], ids=["alone", "worker"])
def test_programs_can_be_interrupted_in_a_run_that_ignores_signals(pytester, workers):
    pytester.makeini("[pytest]\nbanger_leak_checks = true\n")
    pytester.makepyfile(
        """
        import signal, subprocess
        def test_interrupted():
            for number in (signal.SIGINT, signal.SIGHUP):
                child = subprocess.Popen(["sleep", "100"])
                child.send_signal(number)
                assert child.wait() == -number
        """
    )
    ignored = "trap '' INT HUP; exec \"$@\""
    argv = ["sh", "-c", ignored, "sh", sys.executable, "-m", "pytest", "-q", *workers]
    done = subprocess.run(argv, cwd=pytester.path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_paths_are_the_test_s_own_and_short(banger_paths, monkeypatch, tmp_path):
    import os

    assert banger_paths.state.is_relative_to(tmp_path)
    assert len(os.fsencode(banger_paths.vm_runtime("0" * 12))) < 60
    assert os.environ["HOME"].startswith(str(tmp_path))
    assert not [name for name in os.environ if name.startswith("XDG_")]


def test_process_that_outlives_its_test_is_found(pytester):
    pytester.makepyfile(
        """
        import subprocess
        from banger_core.testing import leaks
        leaks._GRACE = 0.0
        def test_daemon(banger_paths):
            subprocess.run(["sh", "-c", "setsid sleep 322 >/dev/null 2>&1 &"], check=True)
        """
    )
    found = pytester.runpytest_subprocess()
    found.assert_outcomes(passed=1, errors=1)
    found.stdout.fnmatch_lines(["*left processes behind: *sleep 322*"])


def test_context_runs_programs_and_keeps_reports(fake_context):
    import asyncio

    fake_context.progress("kernel", 1, 2)
    assert fake_context.reports == [("kernel", 1, 2)]
    assert asyncio.run(fake_context.run(["cat"], stdin=b"hi")) == b"hi"


def test_context_ends_what_it_spawned(fake_context):
    import asyncio

    from banger_core.engine import process

    spawned = asyncio.run(fake_context.spawn(["sleep", "323"], directory=fake_context.state_dir))
    assert process.alive(spawned)
    fake_context.close()
    assert not leaks.end({spawned.pid})


def test_fake_console_says_what_the_engine_waits_for():
    assert READY_MARK in vmm.CONSOLE


@pytest.mark.parametrize("name", ["fakes/vmm.py"])
def test_fake_vmm_imports_the_standard_library_only(name):
    import banger_core.testing

    source = (Path(banger_core.testing.__file__).parent / name).read_text()
    assert "banger_core" not in source
