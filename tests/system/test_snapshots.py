"""Snapshots and copies of one real machine that runs, in this order; and of another driver's."""

from __future__ import annotations

import os
import subprocess
import time

import pytest
from drivers import configuration, drivers, limit

pytestmark = [pytest.mark.system, pytest.mark.timeout(900), pytest.mark.xdist_group("snapshots")]

COUNTER = "i=0; while :; do i=$((i+1)); echo $i >/dev/shm/count; sleep 0.2; done"


@pytest.fixture(scope="module", params=drivers())
def driver(banger, request):
    """Whose machine it is. ``banger vm run`` chooses it by itself."""
    banger.ok("daemon", "stop")
    (banger.home / "config" / "config.toml").write_text(configuration(request.param))
    if why := limit(banger, request.param):
        pytest.skip(
            f"NOT PROVEN for the driver {request.param} on this host: that Linux goes back to a "
            f"snapshot with its memory and disks, and that its copies become machines of their "
            f"own before they are reached ({why})"
        )
    return request.param


@pytest.fixture(scope="module")
def vm(banger, driver):
    """A machine that runs, with a process that counts in memory."""
    banger.ok("vm", "run", "-d", "--name", "v", "--memory", "256M", "--vcpu", "1",
              "--work-disk", "256M", "-p", "8080:80")  # fmt: skip
    inside(banger, "v", f"setsid sh -c '{COUNTER}' counter >/dev/null 2>&1 </dev/null &")
    return "v"


def inside(banger, name, script):
    return banger.ok("vm", "exec", name, "--", "sh", "-c", script).strip()


def count(banger, name):
    """The counter, once it has gone on from where it is now."""
    first = int(inside(banger, name, "cat /dev/shm/count"))
    deadline = time.monotonic() + 300
    while (now := int(inside(banger, name, "cat /dev/shm/count"))) == first:
        assert time.monotonic() < deadline
    return now


def test_a_machine_goes_back_with_its_memory_and_both_disks(banger, vm, driver):
    inside(banger, vm, "echo then > /then; echo then > /root/then")
    before = count(banger, vm)
    assert banger.ok("vm", "snapshot", "create", vm, "then") == "then\n"
    after = count(banger, vm)
    assert after > before
    inside(banger, vm, "rm /then /root/then; echo later > /later; rm /dev/shm/count; sync")
    drawn = inside(banger, vm, "head -c 16 /dev/urandom | od -An -tx1")
    assert banger.ok("vm", "snapshot", "restore", vm, "then") == f"{vm}\n"
    assert inside(banger, vm, "cat /then /root/then") == "then\nthen"
    assert inside(banger, vm, "ls /later 2>/dev/null || true") == ""
    assert count(banger, vm) > before
    guest = float(inside(banger, vm, "date +%s"))
    assert abs(guest - time.time()) < 60
    assert inside(banger, vm, "head -c 16 /dev/urandom | od -An -tx1") != drawn
    (row,) = banger.json("vm", "snapshot", "list", vm)
    assert (row["vm"], row["name"], row["needs"]["driver"]) == (vm, "then", driver)
    assert 0 < row["size"] < 512 << 20


def test_a_broken_one_is_refused_and_the_machine_goes_on(banger, vm):
    (place,) = (banger.state / "snapshots").iterdir()
    pid = banger.json("vm", "show", vm)["pid"]
    state = place / "vmm" / "state"
    os.truncate(state, state.stat().st_size - 1)
    refused = banger.run("vm", "snapshot", "restore", vm, "then")
    assert refused.returncode == 1
    assert b"the snapshot then is damaged" in refused.stderr
    assert banger.json("vm", "show", vm)["pid"] == pid
    assert inside(banger, vm, "cat /then") == "then"


KEY = "/etc/ssh/ssh_host_ed25519_key"
FACTS = f"""
hostname; cat /etc/machine-id /etc/hostname /sys/class/net/eth0/address
head -c 16 /dev/urandom | od -An -tx1; cat /proc/sys/kernel/random/uuid
grep 127.0.1.1 /etc/hosts; ssh-keygen -y -f {KEY} | cut -d' ' -f2
"""


def libraries(program):
    """What a program of this host needs and the image may lack."""
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    needed = [line.split()[2] for line in listed.splitlines() if " => /" in line]
    return [path for path in needed if "libcrypto" in path]


def test_copies_go_on_as_machines_of_their_own(banger, vm):
    inside(banger, vm, "echo mine > /root/w; rm -f /etc/machine-id")
    inside(banger, vm, "tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id")
    # The image has no SSH server of its own, so it gets what makes the keys of one
    for path in ("/usr/bin/ssh-keygen", *libraries("/usr/bin/ssh-keygen")):
        banger.ok("vm", "cp", path, f"{vm}:{path}")
    inside(banger, vm, f"mkdir -p /etc/ssh && ssh-keygen -q -t ed25519 -N '' -f {KEY}")
    before = count(banger, vm)
    made = banger.ok("vm", "fork", vm, "-n", "2").split()
    assert made == ["v-1", "v-2"]
    facts = {name: inside(banger, name, FACTS).splitlines() for name in (vm, *made)}
    # Nothing that was said is the same anywhere
    for rows in zip(*facts.values(), strict=True):
        assert len(set(rows)) == 3, rows
    shown = {name: banger.json("vm", "show", name) for name in (vm, *made)}
    for name in made:
        assert facts[name][0] == facts[name][2] == name
        assert facts[name][3] == shown[name]["mac"]
        assert count(banger, name) > before
        assert inside(banger, name, "cat /then /root/w") == "then\nmine"
        assert shown[name]["ports"] == ["8080:80"]
        assert abs(float(inside(banger, name, "date +%s")) - time.time()) < 60
    assert len({row["address"] for row in shown.values()}) == 3
    inside(banger, "v-1", "rm /then; sync")
    assert inside(banger, "v-2", "cat /then") == inside(banger, vm, "cat /then") == "then"
    # Each has a key of its own, which was pinned first: the others' are refused
    pins = {line.split()[2] for line in (banger.state / "ssh/known_hosts").read_text().splitlines()}
    assert len(pins) == 3
    banger.ok("vm", "delete", "--force", *made)


def test_nothing_is_left(banger, vm):
    banger.ok("vm", "delete", "--force", vm)
    assert list((banger.state / "snapshots").iterdir()) == []
