from __future__ import annotations

import asyncio
import signal
import subprocess
import sys

import pytest

from banger_core.engine import failpoints
from banger_core.engine.failpoints import afailpoint, check_environment, failpoint, register
from banger_core.errors import BangerError, UsageProblem


@pytest.fixture(autouse=True)
def _points(monkeypatch):
    monkeypatch.setattr(failpoints, "POINTS", {})
    register("test.one", "one")
    register("test.two", "two")


@pytest.fixture
def arm(monkeypatch):
    return lambda text: monkeypatch.setenv("BANGER_FAILPOINT", text)


def test_registering():
    assert register("test.three", "three") == "test.three"
    assert failpoints.POINTS["test.three"] == "three"
    with pytest.raises(ValueError, match="twice"):
        register("test.one", "again")
    with pytest.raises(ValueError, match="not registered"):
        failpoint("test.unknown")


@pytest.mark.parametrize("text", ["", "test.two:error", ";;"])
def test_nothing_happens_unless_armed(arm, text):
    arm(text)
    failpoint("test.one")
    asyncio.run(afailpoint("test.one"))
    check_environment()


def test_error(arm):
    arm("test.two:hang; test.one:error")
    with pytest.raises(BangerError, match=r"test\.one"):
        failpoint("test.one")
    with pytest.raises(BangerError, match=r"test\.one"):
        asyncio.run(afailpoint("test.one"))


@pytest.mark.parametrize("call", ["failpoint('p')", "asyncio.run(afailpoint('p'))"])
def test_kill(arm, call):
    arm("p:kill")
    code = (
        "import asyncio; from banger_core.engine.failpoints import *\n"
        f"register('p', 'x')\ntry: {call}\nfinally: print('cleaned up', flush=True)"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"")


def test_hang_until_released(arm, monkeypatch, tmp_path):
    release = tmp_path / "release"
    monkeypatch.setenv("BANGER_FAILPOINT_RELEASE", str(release))
    arm("test.one:hang")

    async def hang() -> None:
        tasks = [
            asyncio.create_task(afailpoint("test.one")),
            asyncio.create_task(asyncio.to_thread(failpoint, "test.one")),
        ]
        _, pending = await asyncio.wait(tasks, timeout=0.1)
        assert pending == set(tasks)
        release.touch()
        await asyncio.wait_for(asyncio.gather(*tasks), 60)

    asyncio.run(hang())


def test_a_hang_can_be_cancelled(arm):
    arm("test.one:hang")

    async def hang() -> None:
        task = asyncio.create_task(afailpoint("test.one"))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.wait([task], timeout=60)
        assert task.cancelled()

    asyncio.run(hang())


def test_unknown_names_are_refused_and_the_known_told(arm):
    arm("test.one:kill;test.tow:kill")
    with pytest.raises(UsageProblem, match=r"test\.tow") as caught:
        check_environment()
    assert "test.one, test.two" in caught.value.cause


@pytest.mark.parametrize("text", ["test.one", "test.one:", "test.one:die", ":kill:x", "a:kill:b"])
def test_malformed_values_are_refused(arm, text):
    arm(text)
    with pytest.raises(UsageProblem):
        check_environment()
