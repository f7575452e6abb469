"""A build that fails or is interrupted while its step runs: no machine and no image is left."""

from __future__ import annotations

import signal

import pytest

IMAGE = ("image", "pull", "fake://small")
BUILD = ("image", "build", "--from", "fake://small", "--name", "new", "--script", "SCRIPT")

# Everything works but the step itself, which is the command that changes to /
GUEST = """#!/bin/sh
cat >/dev/null
case "$*" in *"cd / && exec"*)
  echo said
  touch {place}/stepping
  {step}
  ;;
esac
"""


@pytest.fixture
def building(house):
    """Give ``house`` a guest whose steps are a shell command; returns the build."""

    def prepare(step: str) -> tuple[str, ...]:
        program = house.home / "bin" / "ssh"
        program.write_text(GUEST.format(place=house.home, step=step))
        program.chmod(0o700)
        (house.home / "script").write_text("true\n")
        house.env["PATH"] = f"{program.parent}:{house.env['PATH']}"
        house.daemon()
        house.ok(*IMAGE)
        return tuple(word.replace("SCRIPT", str(house.home / "script")) for word in BUILD)

    return prepare


def assert_nothing_is_left(house):
    house.until(lambda: house.vms() == [])
    assert len(house.rows("SELECT id FROM images")) == 1
    assert house.leftovers() == []


def test_a_step_that_fails(house, building):
    done = house.run(*building("echo why >&2; exit 3"))
    assert done.returncode == 1
    assert done.stdout == ""
    said = done.stderr.splitlines()
    assert "said" in said
    assert "error: the script failed in the machine" in said
    assert "cause: exit status 3: why" in said
    assert_nothing_is_left(house)


def test_an_interrupted_step(house, building):
    with house.popen(*building("exec sleep 600")) as command:
        house.until((house.home / "stepping").exists)
        command.send_signal(signal.SIGINT)
        _, err = command.communicate(timeout=60)
    assert command.returncode == 130, err
    assert_nothing_is_left(house)


def test_a_step_without_a_client(house, building):
    """The build goes on when the command is killed: what it makes is there later."""
    with house.popen(*building(f"while [ ! -e {house.home}/go ]; do sleep 0.1; done")) as command:
        house.until((house.home / "stepping").exists)
        command.kill()
    (house.home / "go").touch()
    house.until(lambda: len(house.rows("SELECT id FROM images")) == 2)
    house.until(lambda: house.vms() == [])
    assert house.leftovers() == []
