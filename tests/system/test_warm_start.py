"""Machines that begin as one that was saved: each is somebody else, and none of them writes to what
they share.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from drivers import DRIVER
from warm_starts import save_one, saved

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("warm-start"),
    pytest.mark.skipif(bool(os.environ.get(DRIVER)), reason="only qemu begins machines warm"),
]

CLONES = [f"clone{number}" for number in range(10)]
AT_ONCE = 3
MACHINE = ("--vcpu", "1", "--memory", "192M")
LOOK = """
hostname
cat /etc/machine-id /sys/class/net/eth0/address /proc/sys/kernel/random/boot_id
od -An -v -tx1 -N32 /dev/urandom | tr -d ' \\n'; echo
date +%s
"""


def digest(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@pytest.fixture(scope="module")
def first(banger):
    """The machine that missed one, and what was saved behind its back."""
    save_one(banger, "first", *MACHINE)
    (image,) = saved(banger)
    yield image
    banger.ok("vm", "prune", "--warm")


@pytest.fixture(scope="module")
def clones(banger, first):
    """Ten machines that began as it: what the daemon and what they themselves say of each."""

    def begin(name):
        banger.ok("vm", "run", "-d", "-q", "--name", name, *MACHINE)
        shown = banger.json("vm", "show", name)
        said = banger.ok("vm", "exec", name, "--", "sh", "-c", LOOK).split()
        return shown, said, time.time()

    before = digest(first / "memory")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = list(pool.map(begin, CLONES))
    assert digest(first / "memory") == before
    return found


def test_it_is_private_and_made_behind_the_back(banger, first):
    assert banger.json("vm", "show", "first")["warm"] is False
    for place in (first.parent, first):
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
    for path in first.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    # It was made before anybody's key was read
    key = (banger.state / "ssh" / "id_ed25519.pub").read_bytes().split()[1]
    assert key not in (first / "memory").read_bytes()


def test_every_machine_is_somebody_else(clones):
    for place, name in enumerate(CLONES):
        shown, (hostname, machine_id, mac, _, _, _), _ = clones[place]
        assert shown["warm"] is True
        assert hostname == shown["name"] == name
        assert mac == shown["mac"]
        assert len(machine_id) == 32
    for field in ("address", "mac", "id", "pid"):
        assert len({shown[field] for shown, _, _ in clones}) == len(CLONES), field
    for place, what in enumerate(("name", "machine-id", "MAC", "boot id", "random numbers")):
        assert len({said[place] for _, said, _ in clones}) == len(CLONES), what


def test_every_machine_has_the_time(clones):
    """A saved one would be behind by as much as it is old; asking takes some of it, too."""
    for _, said, now in clones:
        assert now - 60 < int(said[-1]) <= now + 2


def test_every_machine_has_its_own_host_key(banger, clones):
    pins = (banger.state / "ssh" / "known_hosts").read_text().splitlines()
    assert len({line.split()[2] for line in pins}) == len(CLONES) + 1


def test_one_in_the_foreground_begins_so_too(banger, first):
    spec = {"vcpu": 1, "memory": "192M", "command": ["true"]}
    for cold in (False, True):
        run = banger.run(
            *("vm", "run", "--foreground", "--spec", "-"),
            stdin=json.dumps({**spec, "cold": cold}).encode(),
        )
        assert run.returncode == 0, run.stderr
        events = [json.loads(line) for line in run.stdout.splitlines()]
        (ready,) = [event for event in events if event["kind"] == "run.ready"]
        assert ready["data"]["warm"] is not cold


def test_machines_outlive_what_they_began_as(banger, clones, first):
    assert "freed" in banger.run("vm", "prune", "--warm").stderr.decode()
    assert not first.exists()
    touch = "head -c 40000000 /dev/zero >/dev/shm/much; sha256sum /dev/shm/much /bin/ls"
    said = {banger.ok("vm", "exec", name, "--", "sh", "-c", touch) for name in CLONES[:3]}
    assert len(said) == 1
    for name in CLONES[:2]:
        banger.ok("vm", "stop", name)
        banger.ok("vm", "start", "--cold", name)
        assert banger.json("vm", "show", name)["warm"] is False
    # Wanted by its owner: cold now, and nothing is saved for later
    assert not saved(banger)
