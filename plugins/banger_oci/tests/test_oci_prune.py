from __future__ import annotations

import asyncio
import json
import os
import time

import pytest
from oci_origins import Memory, Stall, blob_of, child, cut_at, end, some_bytes, until

from banger_core.api import FileLock, Unreachable
from banger_oci.blobs import BlobStore
from banger_oci.prune import STALE

DAY = 86400.0


@pytest.fixture
def store(tmp_path):
    return BlobStore(tmp_path / "oci")


def keep(store, size, seed, age=0.0):
    """A blob that was last used ``age`` seconds ago."""
    data = some_bytes(size, seed)
    digest = blob_of(data).digest
    store.keep(data, digest)
    os.utime(store.path(digest), (time.time() - age,) * 2)
    return digest


def leave(store, size, seed, age=0.0, total=10_000):
    """The first bytes of a blob, from an attempt that ended ``age`` seconds ago."""
    data = some_bytes(total, seed)
    origin = Memory(data, faults=[cut_at(size, Unreachable)], tag="")
    with pytest.raises(Unreachable):
        asyncio.run(store.fetch(blob_of(data), origin))
    for path in store.partials.iterdir():
        if blob_of(data).digest[7:] in path.name:
            if path.suffix:
                path.unlink()
            else:
                os.utime(path, (time.time() - age,) * 2)
    return blob_of(data).digest


def kept(store):
    return {f"sha256:{path.name}" for path in store.blobs.iterdir()}


def names(items):
    return [item.name for item in items]


def test_what_was_not_used_for_longest_goes_first_and_no_more_than_needed(store):
    old, new, middle = keep(store, 100, 1, 300), keep(store, 200, 2, 100), keep(store, 300, 3, 200)
    assert store.prune(600) == []
    assert names(store.prune(599)) == [old]
    assert names(store.prune(200)) == [middle]
    (item,) = store.prune(0)
    assert (item.name, item.size, item.partial) == (new, 200, False)
    assert 90 < time.time() - item.used_at < 200
    assert kept(store) == set()


def test_a_dry_run_says_what_would_go_and_changes_nothing(store):
    keep(store, 100, 1, 300)
    keep(store, 100, 2, 200)
    leave(store, 100, 3, 2 * STALE)
    store.tag("x", blob_of(some_bytes(100, 1)))
    before = everything(store)
    would = store.prune(50, dry_run=True)
    assert everything(store) == before
    assert store.prune(50) == would
    assert len(would) == 3


def everything(store):
    return {
        path: (path.stat().st_mtime, path.read_bytes())
        for path in store.root.rglob("*")
        if path.is_file() and path.name != "lock"
    }


def test_stale_partial_blobs_go_first_and_fresh_ones_in_their_turn(store):
    stale, ancient = leave(store, 100, 1, STALE + 60), keep(store, 100, 2, 9 * STALE)
    fresh, young = leave(store, 100, 3, 50), keep(store, 100, 4, 0)
    (item,) = store.prune(399)
    assert (item.name, item.partial, item.size) == (stale, True, 100)
    assert names(store.prune(299)) == [ancient]
    assert names(store.prune(199)) == [fresh]
    assert names(store.prune(0)) == [young]
    assert list(store.partials.iterdir()) == []


def test_a_use_puts_a_blob_last(store):
    first, second = keep(store, 100, 1, 300), keep(store, 100, 2, 200)
    with store.hold([first]):
        pass
    assert names(store.prune(100)) == [second]


def test_what_is_held_stays_and_something_else_goes_for_it(store):
    held, other = keep(store, 100, 1, 300), keep(store, 100, 2, 200)
    coming = leave(store, 100, 3, 2 * STALE)
    with store.hold([held, coming]), store.hold([held]):
        assert names(store.prune(0)) == [other]
        assert store.prune(0, dry_run=True) == []
    assert names(store.prune(0)) == [coming, held]


def test_an_async_hold_is_the_same(store):
    held = keep(store, 100, 1)

    async def work():
        async with store.hold([held]):
            assert BlobStore(store.root).prune(0) == []

    asyncio.run(work())
    assert names(store.prune(0)) == [held]
    assert list((store.root / "holds").iterdir()) == []


def test_a_hold_waits_until_a_prune_has_finished(store):
    entered = []

    async def use():
        async with store.hold([]):
            entered.append(True)

    async def work():
        with FileLock(store.root / "lock"):
            task = asyncio.create_task(use())
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(task), 0.2)
            assert not entered
        await task

    asyncio.run(work())
    assert entered


def test_what_another_process_holds_stays_until_it_is_killed(store):
    held = [keep(store, 10, seed) for seed in range(127)]
    processes = [child("hold", store.root, *held[number:]) for number in (0, 60)]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        assert store.prune(0) == []
        end(processes[0])
        assert len(store.prune(0)) == 60
        assert kept(store) == set(held[60:])
    finally:
        for process in processes:
            end(process)
    assert len(store.prune(0)) == 67
    assert list((store.root / "holds").iterdir()) == []


def test_what_is_being_fetched_stays(store):
    data = some_bytes(10_000)
    stall = Stall(5_000)

    async def work():
        task = asyncio.create_task(store.fetch(blob_of(data), Memory(data, faults=[stall])))
        await until(stall.reached.is_set)
        assert store.prune(0, dry_run=True) == []
        assert store.prune(0) == []
        stall.go.set()
        await task

    asyncio.run(work())
    assert store.path(blob_of(data).digest).read_bytes() == data


def test_what_killed_writers_left_goes_when_it_is_old(store):
    for directory in (store.root, store.blobs):
        for age in (0, 2 * STALE):
            path = directory / f".x{age}.partial"
            path.write_bytes(b"x" * 100)
            os.utime(path, (time.time() - age,) * 2)
    (store.partials / f"sha256-{'0' * 64}.lock").write_text("")
    (store.partials / f"sha256-{'1' * 64}.json.new").write_text("{}")
    assert len(store.prune(0)) == 4
    assert {path.name for path in store.root.rglob("*.*") if path.is_file()} == {
        "index.json",
        ".x0.partial",
    }


def test_files_of_others_are_left_alone(store):
    for path in (store.blobs / "README", store.partials / "notes", store.root / "mine"):
        path.write_text("x" * 100)
    assert store.prune(0) == []
    assert (store.blobs / "README").exists()


def test_names_of_what_is_gone_are_forgotten_and_others_stay(store):
    gone, stays = keep(store, 100, 1, 300), keep(store, 100, 2, 200)
    foreign = store.root / "blobs" / "sha512" / "abc"
    foreign.parent.mkdir()
    foreign.write_text("x")
    for seed in (1, 2):
        store.tag(f"image:{seed}", blob_of(some_bytes(100, seed)))
    index = store.root / "index.json"
    words = json.loads(index.read_text())
    words["annotations"] = {"by": "another tool"}
    words["manifests"] += [
        {"mediaType": "x", "digest": "sha512:abc", "size": 1},
        {"mediaType": "x", "digest": "../../etc/passwd", "size": 1},
        {"mediaType": "x", "digest": "sha256:" + "0" * 64, "size": 1},
        "nonsense",
    ]
    index.write_text(json.dumps(words))
    assert names(store.prune(100)) == [gone]
    words = json.loads(index.read_text())
    assert words["annotations"] == {"by": "another tool"}
    assert [entry["digest"] for entry in words["manifests"]] == [stays, "sha512:abc"]


def test_pruning_and_holding_by_many_at_once_loses_nothing_held(store):
    digests = [keep(store, 50, seed) for seed in range(40)]

    def use(number):
        mine = digests[number::8]
        try:
            with BlobStore(store.root).hold(mine):
                here = [digest for digest in mine if store.path(digest).exists()]
                BlobStore(store.root).prune(0)
                return all(store.path(digest).exists() for digest in here)
        finally:
            BlobStore(store.root).prune(1000)

    async def work():
        loop = asyncio.get_running_loop()
        return await asyncio.gather(
            *(loop.run_in_executor(None, use, number) for number in range(8))
        )

    assert asyncio.run(work()) == [True] * 8
