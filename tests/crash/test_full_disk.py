"""The disk is full at every place of a pull and of a create, from nothing free to just enough: a
typed error, nothing half made, and the same again works when there is room.

``BANGER_FULL_EVERY=1`` tries every amount that the file system can tell apart; else a sample.
"""

from __future__ import annotations

import os
import sys

import pytest

from banger_core.errors import NoSpace
from banger_core.testing.small_disk import small_disk

EVERY = int(os.environ.get("BANGER_FULL_EVERY", "0"))
SAMPLE = 10
DISK = 64 << 20

IMAGE = {"ref": "fake://small"}


@pytest.fixture
def disk(house):
    """The state of ``house``, on a small disk; the caches lie there, too."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    house.state.mkdir(mode=0o700)
    house.env["BANGER_CACHE_DIR"] = str(house.state / "cache")
    with small_disk(house.state, DISK) as disk:
        yield disk
        for daemon in house.daemons:
            daemon.kill()
            daemon.wait()


def pull(house):
    house.operate("POST", "images", "pull", body=IMAGE)


def unpull(house):
    house.operate("DELETE", "images", "small")


def create(house):
    house.create("one")


def delete(house):
    house.delete("one")


def amounts(disk, wanted):
    step = EVERY * disk.grain or max(disk.grain, wanted // SAMPLE // disk.grain * disk.grain)
    return range(0, DISK, step)


@pytest.mark.timeout(0 if EVERY else 400)
@pytest.mark.parametrize(
    ("do", "undo", "first"),
    [(pull, unpull, ()), (create, delete, (pull,))],
    ids=["pull", "create"],
)
def test_full_at_every_place(house, disk, do, undo, first):
    house.daemon()
    for each in first:
        each(house)
    do(house)
    undo(house)
    before, free = house.ledger(), disk.free
    do(house)
    wanted = free - disk.free
    undo(house)
    house.settled(before)
    failed = []
    for amount in amounts(disk, wanted):
        disk.leave(amount)
        try:
            do(house)
        except NoSpace as problem:
            failed.append(problem)
        else:
            undo(house)
            break
        finally:
            disk.relieve()
        house.settled(before)
        # The daemon sets space aside again as soon as it looks
        house.vms()
        house.until((house.state / "banger.db.reserve").exists)
    sys.stdout.write(f"{len(failed)} amounts below {wanted} bytes that it takes\n")
    assert failed
    assert all(each.summary.startswith("no space left") and each.hints for each in failed)
    do(house)
    assert house.leftovers() == []
    undo(house)
    house.settled(before)
    assert "Traceback" not in house.log()
