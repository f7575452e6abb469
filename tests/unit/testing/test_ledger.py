"""The ledger notices a leak of every kind: each is planted for real, noticed, and taken away."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from banger_core.store.database import Database
from banger_core.testing.ledger import take

KINDS = ("process", "mount", "socket", "port", "file", "row", "dns", "pin", "fd")

TAP = "ip link add bgr0123456789ab type bridge"
RULES = """nft -f - <<'END'
add table inet banger_left
add chain inet banger_left input
add table inet theirs
add chain inet theirs input
add rule inet theirs input iifname "bgr0123456789ab" accept
END"""

SLEEPER = (sys.executable, "-c", "import time; print(flush=True); time.sleep(324)")

DAEMON = """
import sys
print("ready", flush=True)
for line in sys.stdin:
    kept = open("/dev/zero") if line == "open\\n" else kept.close()
    print("done", flush=True)
"""


@contextmanager
def child(paths, *argv):
    """A process of this banger, once it has said its first line."""
    env = {**os.environ, "BANGER_STATE_DIR": str(paths.state)}
    with subprocess.Popen(
        argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def sleeper(paths):
    return child(paths, *SLEEPER)


def mounted(paths):
    script = f"mount -t tmpfs left {paths.state / 'place'} && echo ready && exec sleep 325"
    return child(paths, "unshare", "--mount", "sh", "-c", script)


@contextmanager
def unix_socket(paths):
    place = paths.runtime / "left.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(place))
        left.listen()
        yield
    place.unlink()


def port(paths):
    code = "import socket, time; s = socket.create_server(('127.0.0.1', 0)); print(flush=True); "
    return child(paths, sys.executable, "-c", code + "time.sleep(326)")


@contextmanager
def text(file, content):
    file.parent.mkdir(parents=True, exist_ok=True)
    before = file.read_bytes() if file.exists() else None
    file.write_text(content)
    yield
    file.unlink() if before is None else file.write_bytes(before)


@contextmanager
def row(paths):
    with closing(sqlite3.connect(paths.database, isolation_level=None)) as database:
        database.execute(
            "INSERT INTO intents (vm_id, kind, subject, data, begun_at)"
            " VALUES ('0123456789ab', 'process', '/left', '{}', 1.5)"
        )
        yield
        database.execute("DELETE FROM intents")


def planted(paths, kind):
    """The leak of a kind, as long as the block lasts."""
    name = {"name": "left", "vm_id": "0123456789ab", "addresses": ["10.9.8.7"]}
    book = json.dumps({"names": [name]})
    ways = {
        "process": lambda: sleeper(paths),
        "mount": lambda: mounted(paths),
        "socket": lambda: unix_socket(paths),
        "port": lambda: port(paths),
        "file": lambda: text(paths.state / "vms" / "left.partial", "x"),
        "row": lambda: row(paths),
        "dns": lambda: text(paths.plugin_state("dns") / "names.json", book),
        "pin": lambda: text(paths.known_hosts, "left.vm ssh-ed25519 AAAA banger:0123456789ab\n"),
    }
    return ways[kind]()


NOTICED = {
    "process": f"+ process {' '.join(SLEEPER)}",
    "mount": "+ mount {state}/place",
    "socket": "+ socket {runtime}/left.sock",
    "port": "+ socket tcp 0100007F:",
    "file": "+ file {state}/vms/left.partial",
    "row": "+ row intents: 1 0123456789ab process /left",
    "dns": "+ dns left 10.9.8.7",
    "pin": "+ pin left.vm ssh-ed25519 AAAA banger:0123456789ab",
}


@pytest.fixture
def paths(banger_paths):
    banger_paths.ready()
    (banger_paths.state / "place").mkdir()
    for file in (banger_paths.known_hosts, banger_paths.state / "vms" / "kept"):
        file.parent.mkdir()
        file.write_text("kept\n")
    banger_paths.plugin_state("dns").mkdir(parents=True)
    Database.open(banger_paths.database).close()
    return banger_paths


@pytest.mark.parametrize("kind", NOTICED)
def test_a_planted_leak_is_noticed(paths, kind):
    if kind == "mount" and os.geteuid() != 0:
        pytest.skip("only root can mount")
    before = take(paths)
    with planted(paths, kind):
        left = take(paths).since(before)
        wanted = NOTICED[kind].format(state=paths.state, runtime=paths.runtime)
        assert [line for line in left if line.startswith(wanted)], left
    assert take(paths).since(before) == []


@pytest.mark.parametrize("kind", ["link", "nft"])
def test_what_is_left_in_a_network_is_noticed(paths, kind):
    if os.geteuid() != 0 or not shutil.which("nft", path="/usr/sbin:/sbin:/usr/bin"):
        pytest.skip("only root can change networks, with nft")
    script = f"PATH=$PATH:/usr/sbin:/sbin; echo ready; read go; {TAP if kind == 'link' else RULES}"
    script += "\necho done; read go"
    with child(paths, "unshare", "--net", "sh", "-ec", script) as inside:
        network = Path(f"/proc/{inside.pid}/ns/net")
        before = take(paths, network=network)
        inside.stdin.write("go\n")
        inside.stdin.flush()
        assert inside.stdout.readline() == "done\n"
        left = take(paths, network=network).since(before)
    assert left
    assert {line.split()[1] for line in left} == {kind}
    assert any("bgr0123456789ab" in line for line in left)
    if kind == "nft":
        assert "+ nft table inet banger_left {: chain input {" in left
        assert not [line for line in left if "theirs" in line and "bgr" not in line]


def test_a_descriptor_that_a_daemon_keeps_is_noticed(paths):
    with child(paths, sys.executable, "-c", DAEMON, "banger_core.daemon") as daemon:

        def told(word):
            daemon.stdin.write(f"{word}\n")
            daemon.stdin.flush()
            daemon.stdout.readline()
            return take(paths)

        before = take(paths)
        assert told("open").since(before) == ["+ fd /dev/zero"]
        assert told("close").since(before) == []


def test_what_went_is_noticed_and_a_second_one_of_the_same(paths):
    before = take(paths)
    (paths.state / "vms" / "kept").unlink()
    assert take(paths).since(before) == [f"- file {paths.state}/vms/kept"]
    with sleeper(paths), sleeper(paths):
        twice = take(paths)
        assert twice.of("process") == [" ".join(SLEEPER)] * 2
    with sleeper(paths):
        assert take(paths).since(twice) == [f"- process {' '.join(SLEEPER)}"]


def test_a_stranger_is_none_of_ours(paths, tmp_path):
    before = take(paths)
    (tmp_path / "theirs").write_text("x")
    stranger = subprocess.Popen(["sleep", "327"], env={"PATH": os.environ["PATH"]})
    with socket.create_server(("127.0.0.1", 0)):
        after = take(paths)
    stranger.kill()
    stranger.wait()
    assert after.since(before) == []
