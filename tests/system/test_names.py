"""NAME.vm of a real machine: there when it is ready, gone with it, however it goes."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time

import pytest

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    pytest.mark.xdist_group("names"),
    pytest.mark.skipif(not shutil.which("dig"), reason="dig is not installed"),
]


def free_port():
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port


@pytest.fixture(scope="module")
def names(banger):
    """A question to the responder of this banger, which gets a port of its own."""
    port = free_port()
    (banger.home / "config" / "config.toml").write_text(f"[plugins.dns]\nport = {port}\n")
    (banger.home / "config" / "config.toml").chmod(0o600)
    banger.ok("daemon", "stop")

    def ask(question, kind="A"):
        argv = ["dig", "+tries=1", "+time=60", "+short", "-p", str(port), "@127.0.0.1"]
        done = subprocess.run(
            [*argv, question, kind], stdout=subprocess.PIPE, text=True, check=False
        )
        # Where nobody is left to be asked, dig says so in a comment
        return [line for line in done.stdout.splitlines() if not line.startswith(";")]

    return ask


def until(true):
    deadline = time.monotonic() + 200
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_machine_has_its_name_from_ready_to_its_end(banger, names):
    banger.ok("vm", "run", "-d", "--name", "named", "-p", "8080")
    vm = banger.json("vm", "show", "named")
    # Nothing is waited for: ready means that the name is there
    assert names("named.vm") == [vm["address"]]
    assert names("NAMED.VM") == [vm["address"]]
    pointer = ".".join(reversed(vm["address"].split("."))) + ".in-addr.arpa"
    assert names(pointer, "PTR") == ["named.vm."]
    assert [each["name"] for each in banger.json("dns", "list")] == ["named.vm"]
    status = banger.json("dns", "status")
    assert status["responder"]["pid"]
    assert status["names"] == 1

    # The daemon dies: the machine and its name go on, and the next daemon finds both
    os.kill(banger.daemon_pid(), signal.SIGKILL)
    assert names("named.vm") == [vm["address"]]
    again = banger.json("dns", "status")
    assert again["responder"]["pid"] == status["responder"]["pid"]
    assert names("named.vm") == [vm["address"]]

    # The machine is killed while no daemon looks
    os.kill(banger.daemon_pid(), signal.SIGKILL)
    os.kill(vm["pid"], signal.SIGKILL)
    until(lambda: names("named.vm") == [])
    assert banger.json("dns", "list") == []

    banger.ok("vm", "start", "named")
    assert names("named.vm") == [vm["address"]]
    banger.ok("vm", "delete", "--force", "named")
    assert names("named.vm") == []
