from __future__ import annotations

import asyncio

import pytest
from oci_origins import Memory, Stall, blob_of, child, end, some_bytes, until

from banger_core.api import Interrupted, NotFound
from banger_oci import partial
from banger_oci.blobs import BlobStore

DATA = some_bytes(300_000)
BLOB = blob_of(DATA)


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setattr(partial, "STEP", 1)
    return BlobStore(tmp_path / "oci", pauses=(0.0,) * 5)


def whole(store):
    assert store.path(BLOB.digest).read_bytes() == DATA
    assert list(store.partials.iterdir()) == []
    return True


def test_two_who_want_one_blob_share_one_download_and_both_see_it_grow(store):
    stall, one, two = Stall(200_000), [], []
    first, second = Memory(DATA, faults=[stall]), Memory(DATA)

    async def work():
        async with asyncio.TaskGroup() as group:
            group.create_task(store.fetch(BLOB, first, one.append))
            await until(stall.reached.is_set)
            group.create_task(BlobStore(store.root).fetch(BLOB, second, two.append))
            await until(lambda: 200_000 in two)
            stall.go.set()

    asyncio.run(work())
    assert whole(store)
    assert len(first.asked) == 1
    assert second.asked == []
    assert one[-1] == two[-1] == len(DATA)
    assert one.count(len(DATA)) == two.count(len(DATA)) == 1


def test_many_who_want_one_blob_share_one_download(store):
    origins = [Memory(DATA, chunk=1000) for _ in range(20)]

    async def work():
        await asyncio.gather(*(store.fetch(BLOB, origin) for origin in origins))

    asyncio.run(work())
    assert whole(store)
    assert sum(len(origin.asked) for origin in origins) == 1


@pytest.mark.parametrize("how", ["cancelled", "interrupted"])
def test_when_the_first_is_stopped_the_second_goes_on_from_there(store, how):
    stall = Stall(200_000)
    first, second, seen, leave = Memory(DATA, faults=[stall]), Memory(DATA), [], []

    def report(done):
        if leave and done > 200_000:
            raise Interrupted("stopped")

    async def work():
        one = asyncio.create_task(store.fetch(BLOB, first, report))
        await until(stall.reached.is_set)
        two = asyncio.create_task(store.fetch(BLOB, second, seen.append))
        await until(lambda: 200_000 in seen)
        if how == "cancelled":
            one.cancel()
        else:
            leave.append(True)
            stall.go.set()
        with pytest.raises((asyncio.CancelledError, Interrupted)):
            await one
        await two

    asyncio.run(work())
    assert whole(store)
    assert len(second.asked) == 1
    assert second.offsets[0] >= 200_000


@pytest.mark.parametrize("how", ["cancelled", "interrupted"])
def test_when_the_second_is_stopped_the_first_notices_nothing(store, how):
    stall = Stall(200_000)
    first, seen, leave = Memory(DATA, faults=[stall]), [], []

    def report(done):
        seen.append(done)
        if leave:
            raise Interrupted("stopped")

    async def work():
        one = asyncio.create_task(store.fetch(BLOB, first))
        await until(stall.reached.is_set)
        two = asyncio.create_task(store.fetch(BLOB, Memory(DATA), report))
        await until(lambda: 200_000 in seen)
        if how == "cancelled":
            two.cancel()
        else:
            leave.append(True)
        with pytest.raises((asyncio.CancelledError, Interrupted)):
            await two
        assert not one.done()
        stall.go.set()
        await one

    asyncio.run(work())
    assert whole(store)
    assert len(first.asked) == 1


def test_when_the_first_one_s_origin_fails_the_second_asks_its_own(store):
    asked = []

    def gone(origin, data, sink, offset, validator, stopped):
        while len(asked) < 2:
            if stopped.wait(0.01):
                break
        raise NotFound("blob", BLOB.digest)

    first, second = Memory(DATA, faults=[gone]), Memory(DATA)

    async def work():
        one = asyncio.create_task(store.fetch(BLOB, first, asked.append))
        await until(lambda: first.asked)
        two = asyncio.create_task(store.fetch(BLOB, second, asked.append))
        with pytest.raises(NotFound):
            await one
        await two

    asyncio.run(work())
    assert whole(store)
    assert second.offsets == [0]


def test_another_process_waits_for_the_download_and_finds_it_finished(store):
    other = child("fetch", store.root, len(DATA), 0, 200_000)
    origin, seen = Memory(DATA), []

    async def work():
        one = asyncio.create_task(store.fetch(BLOB, origin, seen.append))
        await until(lambda: 200_000 in seen)
        other.stdin.write("go\n")
        await one

    try:
        assert other.stdout.readline() == "ready\n"
        asyncio.run(work())
        assert other.stdout.readline() == "done\n"
    finally:
        end(other)
    assert whole(store)
    assert origin.asked == []
    assert seen[-1] == len(DATA)


def test_when_the_other_process_is_killed_the_download_goes_on_from_there(store):
    other = child("fetch", store.root, len(DATA), 0, 200_000)
    origin, seen = Memory(DATA), []

    async def work():
        one = asyncio.create_task(store.fetch(BLOB, origin, seen.append))
        await until(lambda: 200_000 in seen)
        end(other)
        await one

    try:
        assert other.stdout.readline() == "ready\n"
        asyncio.run(work())
    finally:
        other.kill()
    assert whole(store)
    assert origin.offsets == [200_000]
