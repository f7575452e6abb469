"""Real machines in the foreground, with no daemon."""

from __future__ import annotations

import json
import signal
import subprocess

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(600), pytest.mark.xdist_group("foreground")]


def run(banger, spec):
    command = banger.popen(
        *("vm", "run", "--foreground", "--spec", "-"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    command.stdin.write(json.dumps(spec).encode())
    command.stdin.close()
    return command


@pytest.fixture(scope="module")
def quiet(banger):
    """The image is here, and no daemon is."""
    banger.ok("daemon", "stop")
    assert not banger.left_in_the_end()
    return banger


def test_a_command_its_output_and_its_status(quiet):
    script = "printf 'gr\\303\\274n\\n'; printf '\\377' >&2; exit 7"
    with run(quiet, {"memory": "256M", "command": ["sh", "-c", script]}) as command:
        events = [json.loads(line) for line in command.stdout]
    assert command.returncode == 7
    output = [event["data"] for event in events if event["kind"] == "vm.output"]
    text = "".join(each.get("text", "") for each in output if each["stream"] == "stdout")
    assert text == "grün\n"
    assert {"stream": "stderr", "base64": "/w=="} in output
    assert events[-1]["data"] == {"how": "command", "status": 7}
    assert not quiet.processes()
    assert not list((quiet.state / "alone").glob("????????"))


def test_a_signal_stops_it_cleanly(quiet):
    with run(quiet, {"memory": "256M", "console": True}) as command:
        console = ""
        for line in command.stdout:
            event = json.loads(line)
            if event["kind"] == "vm.console":
                console += event["data"]["text"]
            if event["kind"] == "run.ready":
                command.send_signal(signal.SIGTERM)
        assert "banger ready" in console
    assert event["data"] == {"how": "stopped", "status": 0}
    assert command.returncode == 0
    assert not quiet.processes()


def test_a_machine_that_shuts_itself_down(quiet):
    off = ["sh", "-c", "echo o > /proc/sysrq-trigger; sleep 60"]
    with run(quiet, {"memory": "256M", "command": off}) as command:
        events = [json.loads(line) for line in command.stdout]
    assert events[-1]["data"] == {"how": "shutdown", "status": 0}
    assert not quiet.processes()
