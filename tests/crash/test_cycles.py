"""Many machines, one after another and all at once: nothing gathers, and every name has one."""

from __future__ import annotations

import os
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from banger_core.errors import BangerError, Conflict

CYCLES = int(os.environ.get("BANGER_SOAK_CYCLES", "200"))
WARM_UP = 20
"""Cycles before anything is compared: by then files and pools are there."""

FLAT = 4 << 20
"""Bytes that the daemon's memory may grow in the second half of the cycles: the allocator takes
a mebibyte at a time. In the first half the history of events fills up, which is bounded.
"""

CROWD = 32


def resident(pid: int) -> int:
    """The memory that a process has, in bytes (proc_pid_status(5))."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) << 10


@pytest.mark.timeout(600)
def test_cycles_leave_everything_as_it_was(house):
    daemon = house.daemon()

    def cycles(count: int) -> None:
        for _ in range(count):
            house.create("one")
            house.delete("one")

    cycles(WARM_UP)
    before = house.ledger()
    assert before.of("fd")
    cycles(CYCLES // 2)
    memory = resident(daemon.pid)
    cycles(CYCLES // 2)
    house.settled(before)
    grown = resident(daemon.pid) - memory
    sys.stdout.write(f"{CYCLES} cycles: {memory >> 10} KiB, then {grown >> 10} KiB more\n")
    assert grown < FLAT
    assert "Traceback" not in house.log()


@pytest.mark.parametrize(
    "point", ["create.after_disk", "start.after_launch", "start.after_process", "start.after_ready"]
)
def test_failures_gather_nothing_either(house, point):
    house.daemon(f"{point}:error")

    def failures(count: int) -> None:
        for _ in range(count):
            with pytest.raises(BangerError, match=point):
                house.create("one")

    failures(5)
    before = house.ledger()
    failures(10)
    house.settled(before)


def test_a_crowd_wants_one_name_and_one_of_it_gets_it(house):
    house.daemon()
    house.create("one")
    house.delete("one")
    before = house.ledger()
    with ThreadPoolExecutor(CROWD) as crowd:
        asked = [crowd.submit(house.create, "one") for _ in range(CROWD)]
    failed = [each.exception() for each in asked if each.exception()]
    assert len(failed) == CROWD - 1
    assert {type(each) for each in failed} == {Conflict}
    assert all("one" in each.summary for each in failed)
    (winner,) = (each.result() for each in asked if not each.exception())
    assert [vm["id"] for vm in house.vms()] == [winner["vm"]["id"]]
    assert house.leftovers() == []
    house.delete("one")
    house.settled(before)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("how", ["commands", "requests"])
def test_a_crowd_gets_a_machine_for_every_name(house, how):
    """From nothing: the first ones pull the image, the others wait for it."""
    names = [f"vm{number}" for number in range(CROWD)]
    if how == "commands":
        # No daemon either: who comes first starts it
        commands = [house.popen("vm", "run", "-d", "--name", name) for name in names]
        for name, command in zip(names, commands, strict=True):
            out, err = command.communicate(timeout=300)
            assert (command.returncode, out.strip()) == (0, name), err
        # Those that came too late are about to leave
        house.until(lambda: len(house.daemon_pids()) == 1)
    else:
        house.daemon()
        with ThreadPoolExecutor(CROWD) as crowd:
            for made in crowd.map(house.create, names):
                assert made["vm"]["state"] == "running"
    vms = house.vms()
    assert sorted(vm["name"] for vm in vms) == sorted(names)
    assert {vm["state"] for vm in vms} == {"running"}
    assert len({vm["address"] for vm in vms}) == CROWD
    for name in names:
        assert house.greeting(name).startswith(b"SSH-2.0-")
    assert len(house.rows("SELECT id FROM images")) == 1
    assert house.leftovers() == []
    with ThreadPoolExecutor(CROWD) as crowd:
        list(crowd.map(house.delete, names))
    assert house.states() == {}
    assert house.leftovers() == []
