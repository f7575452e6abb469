"""Machines without a daemon: how a run ends, and that nothing of it stays."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest

SPEC = {"name": "alone", "publish": ["8080"], "labels": {"job": "7"}}
STUBBORN = {"name": "alone", "labels": {"guest": "stubborn"}}
ENGINE = b"banger_core.daemon.foreground"


@pytest.fixture
def spec(house):
    path = house.home / "spec.json"
    path.write_text(json.dumps(SPEC))
    return str(path)


@pytest.fixture
def stubborn(house):
    """A guest that does not shut down, within a second."""
    grace(house, 1)
    path = house.home / "stubborn.json"
    path.write_text(json.dumps(STUBBORN))
    return str(path)


def grace(house, seconds):
    config = house.home / "config" / "config.toml"
    config.write_text(re.sub(r"stop_grace = \d+", f"stop_grace = {seconds}", config.read_text()))


def running(house, spec, **env):
    return house.popen("vm", "run", "--foreground", "--spec", spec, **env)


def events_until(run, kind):
    seen = []
    for line in run.stdout:
        seen.append(json.loads(line))
        if seen[-1]["kind"] == kind:
            return seen
    raise AssertionError((seen, run.stderr.read()))


def left(house):
    """Whatever of a run is there: its state, its sockets, its processes."""
    return [
        *house.home.glob("state/alone/????????"),
        *house.home.glob("run/a-*"),
        *house.processes(b"vmm.py"),
        *house.processes(ENGINE),
    ]


def test_a_signal_stops_it_and_the_events_tell_all(house, spec):
    with running(house, spec) as run:
        begun = events_until(run, "run.ready")
        run.send_signal(signal.SIGTERM)
        ended = events_until(run, "run.ended")
    events = begun + ended
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    ready = begun[-1]["data"]
    assert ready["name"] == "alone"
    assert "8080" in ready["ports"]
    assert ready["address"].startswith("127.")
    assert ended[-1]["data"] == {"how": "stopped", "status": 0}
    assert run.returncode == 0
    assert not left(house)
    assert not house.daemon_pids()


def test_a_guest_that_does_not_shut_down_is_forced(house, stubborn):
    with running(house, stubborn) as run:
        events_until(run, "run.ready")
        run.send_signal(signal.SIGTERM)
        assert events_until(run, "run.ended")[-1]["data"] == {"how": "forced", "status": 137}
    assert run.returncode == 137
    assert not left(house)


def test_the_second_signal_ends_it_at_once(house, stubborn):
    grace(house, 600)
    with running(house, stubborn) as run:
        events_until(run, "run.ready")
        run.send_signal(signal.SIGTERM)
        events_until(run, "step")
        run.send_signal(signal.SIGTERM)
        assert events_until(run, "run.ended")[-1]["data"]["how"] == "forced"
    assert not left(house)


def test_a_guest_that_shuts_down_ends_it_well(house, spec):
    with running(house, spec) as run:
        events_until(run, "run.ready")
        (vmm,) = house.processes(b"vmm.py")
        os.kill(vmm, signal.SIGTERM)
        assert events_until(run, "run.ended")[-1]["data"] == {"how": "shutdown", "status": 0}
    assert run.returncode == 0
    assert not left(house)


def test_a_vmm_that_is_killed_ends_it_badly(house, spec):
    with running(house, spec) as run:
        events_until(run, "run.ready")
        (vmm,) = house.processes(b"vmm.py")
        os.kill(vmm, signal.SIGKILL)
        assert events_until(run, "run.ended")[-1]["data"] == {"how": "broken", "status": 1}
    assert run.returncode == 1
    assert not left(house)


@pytest.mark.parametrize("point", ["create.after_disk", "start.after_launch"])
def test_a_signal_while_it_starts(house, spec, point):
    with running(house, spec, BANGER_FAILPOINT=f"{point}:hang") as run:
        pattern = (
            "state/alone/*/vms/*/root.raw" if "disk" in point else "run/a-*/vms/*/console.sock"
        )
        house.until(lambda: list(house.home.glob(pattern)))
        run.send_signal(signal.SIGINT)
        assert events_until(run, "run.ended")[-1]["data"] == {"how": "stopped", "status": 130}
    assert run.returncode == 130
    assert not left(house)


def test_an_engine_that_is_killed_leaves_nothing(house, spec):
    with running(house, spec) as run:
        events_until(run, "run.ready")
        for pid in house.processes(ENGINE):
            os.kill(pid, signal.SIGKILL)
        run.communicate(timeout=60)
    assert run.returncode == 137
    assert not left(house)


def test_a_command_line_that_is_killed_leaves_nothing(house, spec):
    with running(house, spec) as run:
        events_until(run, "run.ready")
        run.kill()
        assert events_until(run, "run.ended")[-1]["data"]["how"] == "stopped"
    house.until(lambda: not left(house))


@pytest.mark.parametrize("next_one", ["daemon", "run"])
def test_when_all_is_killed_the_next_one_sweeps_up(house, spec, next_one):
    with running(house, spec) as run:
        events_until(run, "run.ready")
        run.kill()
        for pid in house.processes(ENGINE):
            os.kill(pid, signal.SIGKILL)
    assert left(house)
    if next_one == "daemon":
        house.daemon()
    else:
        broken = house.home / "broken.toml"
        broken.write_text('image = "nowhere://x"')
        with running(house, str(broken)) as other:
            other.communicate(timeout=60)
    house.until(lambda: not left(house))


def test_it_pulls_for_the_next_ones_and_survives_the_deletion_of_its_image(house, spec):
    with running(house, spec) as run:
        events_until(run, "run.ready")
        (image,) = json.loads(house.ok("image", "list", "--json"))
        house.ok("image", "delete", image["name"])
        run.send_signal(signal.SIGTERM)
        run.communicate(timeout=60)
    assert not left(house)


def test_it_runs_beside_a_daemon_which_does_not_see_it(house, spec):
    house.ok("vm", "run", "-d", "--name", "alone")
    with running(house, spec) as run, running(house, spec) as other:
        for each in (run, other):
            events_until(each, "run.ready")
        assert house.states() == {"alone": "running"}
        for each in (run, other):
            each.send_signal(signal.SIGTERM)
            each.communicate(timeout=60)
    assert not [path for path in left(house) if not isinstance(path, int)]


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ('{"image": "nowhere://x"}', 2, "nowhere"),
        ('{"imige": "x"}', 2, "did you mean image?"),
        ('{"vcpu": 0}', 2, "vcpu"),
        ('memory = "much"', 2, "memory"),
        ('publish = ["http"]', 2, "names no port"),
        ('user = "a b"', 2, "user"),
        ("{", 2, "is no JSON"),
        ("image = ", 2, "is no TOML"),
        ('network = "nowhere"', 2, "nowhere"),
        (None, 2, "cannot be read"),
    ],
)
def test_a_specification_that_cannot_be_run(house, text, status, words):
    path = house.home / "spec"
    if text is not None:
        path.write_text(text)
    with running(house, str(path)) as run:
        out, err = run.communicate(timeout=60)
    assert run.returncode == status
    assert words in err
    last = json.loads(out.splitlines()[-1])
    assert last["kind"] == "run.ended"
    assert last["data"]["error"]["error"] in err
    assert not left(house)


def test_the_specification_can_come_from_stdin(house):
    words = ("vm", "run", "--foreground", "--spec", "-")
    done = subprocess.run(
        [sys.executable, "-m", "banger_core", *words],
        env=house.env,
        input=b'name = "not a label"',
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert b"not a label" in done.stderr


def test_what_stands_beside_it_is_refused(house, spec):
    for words in (
        ("--foreground",),
        ("--spec", spec),
        ("--foreground", "--spec", spec, "--name", "x"),
        ("--foreground", "--spec", spec, "--", "true"),
    ):
        done = house.run("vm", "run", *words)
        assert done.returncode == 2, words
        assert "cause:" in done.stderr
