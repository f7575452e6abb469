"""Saved machines: found only as they were sealed."""

from __future__ import annotations

import os
import stat

import pytest

from banger_core.errors import IntegrityError
from banger_core.store.warm import WarmShelf

ONE = "qemu-" + "a" * 32 + "-" + "b" * 32
OTHER_TOOLS = "qemu-" + "a" * 32 + "-" + "c" * 32
OTHER_MACHINE = "qemu-" + "d" * 32 + "-" + "b" * 32


@pytest.fixture
def shelf(tmp_path):
    return WarmShelf(tmp_path / "warm")


@pytest.fixture
def make(shelf):
    def made(name, state=b"state"):
        place = shelf.begin()
        place.mkdir(mode=0o700)
        for file, data in {"state": state, "memory": bytes(2 << 20)}.items():
            (place / file).write_bytes(data)
            (place / file).chmod(0o600)
        shelf.publish(place, name)
        return shelf.find(name)

    return made


def test_what_was_published_is_found(shelf, make):
    assert shelf.find(ONE) is None
    place = make(ONE)
    assert (place / "state").read_bytes() == b"state"
    assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
    (item,) = shelf.items()
    assert (item.name, item.path) == (ONE, place)
    assert item.size >= 2 << 20


def change_state(place):
    (place / "state").write_bytes(b"State")


def change_memory(place):
    with (place / "memory").open("r+b") as file:
        file.write(b"x")


def cut_memory(place):
    os.truncate(place / "memory", 1 << 20)


def replace_memory(place):
    (place / "new").write_bytes(bytes(2 << 20))
    (place / "new").chmod(0o600)
    (place / "new").rename(place / "memory")


def open_to_others(place):
    (place / "memory").chmod(0o644)


def link_memory(place):
    (place / "memory").rename(place.parent / "elsewhere")
    (place / "memory").symlink_to(place.parent / "elsewhere")


def remove_state(place):
    (place / "state").unlink()


def add_file(place):
    (place / "more").write_bytes(b"")
    (place / "more").chmod(0o600)


def break_seal(place):
    (place / "seal.json").write_text('{"files"')


def forge_seal(place):
    (place / "seal.json").write_text('{"files": []}')


def remove_seal(place):
    (place / "seal.json").unlink()


@pytest.mark.parametrize(
    "spoil",
    [
        *(change_state, change_memory, cut_memory, replace_memory, open_to_others, link_memory),
        *(remove_state, add_file, break_seal, forge_seal, remove_seal),
    ],
)
def test_whatever_was_changed_is_refused(shelf, make, spoil):
    spoil(make(ONE))
    with pytest.raises(IntegrityError, match=r"cannot be used|no private file"):
        shelf.find(ONE)
    shelf.remove(ONE)
    assert shelf.find(ONE) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_files_of_somebody_else_are_refused(shelf, make):
    os.chown(make(ONE) / "memory", 65534, 65534)
    with pytest.raises(IntegrityError, match="no private file"):
        shelf.find(ONE)


@pytest.mark.parametrize("name", ["", "..", "qemu", "../qemu-" + "a" * 32, "qemu-xyz-" + "b" * 32])
def test_names_are_checked(shelf, name):
    with pytest.raises(IntegrityError, match="malformed"):
        shelf.find(name)


def test_one_made_with_other_tools_takes_the_place(shelf, make):
    make(ONE)
    make(OTHER_MACHINE)
    make(OTHER_TOOLS)
    assert {item.name for item in shelf.items()} == {OTHER_TOOLS, OTHER_MACHINE}


def test_the_first_of_two_makers_wins(shelf, make):
    first = make(ONE)
    assert make(ONE, b"other") == first
    assert (first / "state").read_bytes() == b"state"


def test_what_was_not_used_for_longest_goes_first(shelf, make):
    for number, name in enumerate((ONE, OTHER_MACHINE)):
        os.utime(make(name) / "seal.json", (number, number))
    shelf.find(ONE)
    shelf.evict(1)
    assert [item.name for item in shelf.items()] == [ONE]


def test_unfinished_work_is_left_alone_until_nobody_can_be_at_it(shelf):
    new, old = shelf.begin(), shelf.begin()
    for place in (new, old):
        place.mkdir()
    os.utime(old, (1, 1))
    shelf.evict(1)
    assert (new.exists(), old.exists()) == (True, False)
    assert shelf.items() == []


def test_clearing_leaves_nothing(shelf, make):
    make(ONE)
    make(OTHER_MACHINE)
    place = shelf.begin()
    place.mkdir()
    assert {item.name for item in shelf.clear()} == {ONE, OTHER_MACHINE}
    assert not list(place.parent.iterdir())


def test_a_map_outlives_the_removal(shelf, make):
    import mmap

    with (make(ONE) / "memory").open("r+b") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    shelf.clear()
    memory[:5] = b"alive"
    assert memory[:6] == b"alive\0"
    memory.close()
