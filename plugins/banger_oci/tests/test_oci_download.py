from __future__ import annotations

import asyncio
import errno
import json
import os
import random
import re
import shutil
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest
from oci_origins import (
    Memory,
    Stall,
    blob_of,
    cut_at,
    from_the_beginning,
    other_bytes,
    refused,
    some_bytes,
    until,
)

from banger_core.api import (
    HostileInput,
    IntegrityError,
    Interrupted,
    NoSpace,
    NotFound,
    Unreachable,
)
from banger_core.testing.context import FakeContext
from banger_oci import download, partial
from banger_oci.blobs import BlobStore
from banger_oci.documents import Descriptor
from banger_oci.download import fetch_all
from banger_oci.transfer import Cut

AT_ONCE = (0.0,) * 5


@pytest.fixture
def store(tmp_path):
    return BlobStore(tmp_path / "oci", pauses=AT_ONCE)


def fetch(store, data, origin, report=lambda _: None):
    path = asyncio.run(store.fetch(blob_of(data), origin, report))
    assert path.read_bytes() == data
    assert path.stat().st_mode & 0o777 == 0o600
    assert on_the_way(store) == []


def leave(store, data, content):
    """What an earlier attempt left of ``data``."""
    path = store.partial_path(blob_of(data).digest)
    path.touch(0o600)
    path.write_bytes(content)
    return path


def on_the_way(store):
    return sorted(path.name for path in store.partials.iterdir())


def kept(store):
    return sorted(path.name for path in store.blobs.iterdir())


def test_a_cut_at_any_byte_is_gone_on_from(store):
    data = some_bytes(97)
    for place in range(len(data) + 1):
        origin = Memory(data, faults=[cut_at(place)], chunk=10)
        fetch(store, data, origin)
        # Nothing came, or nothing is missing: nothing to go on from or to ask for
        expected = [0, place] if place < len(data) else [0]
        assert origin.offsets == expected
        store.discard(blob_of(data).digest)


def test_what_one_attempt_left_at_any_byte_is_used_by_the_next_process(tmp_path):
    data = some_bytes(61)
    for place in range(len(data)):
        first = BlobStore(tmp_path / str(place))
        with pytest.raises(Unreachable):
            fetch(first, data, Memory(data, faults=[cut_at(place, Unreachable)], chunk=7))
        assert kept(first) == []
        origin = Memory(data)
        fetch(BlobStore(tmp_path / str(place)), data, origin)
        assert origin.asked == [(place, '"1"' if place else "")]


def test_many_cuts_at_random_places_of_a_large_blob(store):
    luck = random.Random(7)
    data = some_bytes(9 << 20, 1)
    places = sorted(luck.sample(range(len(data)), 40))
    origin = Memory(data, faults=map(cut_at, places), chunk=luck.randrange(1000, 300_000))
    fetch(store, data, origin)
    assert origin.offsets == [0, *places]


def test_asking_goes_on_as_long_as_it_brings_something(store):
    data = some_bytes(200)
    faults = [fault for place in range(1, 40) for fault in (cut_at(place), *[refused] * 4)]
    fetch(store, data, Memory(data, faults=faults))


def test_five_attempts_in_a_row_that_bring_nothing_are_the_last(store):
    data = some_bytes(200)
    origin = Memory(data, faults=[cut_at(50), *[refused] * 99])
    with pytest.raises(Cut, match="no connection"):
        fetch(store, data, origin)
    assert origin.offsets == [0, 50, 50, 50, 50, 50]
    assert store.fetched(blob_of(data)) == 50


def test_bringing_the_same_bytes_again_and_again_is_bringing_nothing(store):
    data = some_bytes(200)

    def again(origin, data, sink, *_):
        sink.begin(0, "")
        sink.write(data[:50])
        raise Cut("the line broke")

    origin = Memory(data, faults=[again] * 99)
    with pytest.raises(Cut):
        fetch(store, data, origin)
    assert len(origin.asked) == 6


def test_pauses_grow_while_nothing_comes_and_are_short_again_after(tmp_path, monkeypatch):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)

    monkeypatch.setattr(download.asyncio, "sleep", sleep)
    data = some_bytes(200)
    faults = [refused, refused, cut_at(9), refused, cut_at(10)]
    fetch(BlobStore(tmp_path / "oci", pauses=(1, 2, 3, 4, 5)), data, Memory(data, faults=faults))
    assert slept == [2, 3, 1, 2, 1]


def test_a_server_that_cannot_go_on_is_taken_from_the_beginning(store):
    data = some_bytes(5000)
    origin = Memory(data, faults=[cut_at(3000), from_the_beginning], chunk=100)
    fetch(store, data, origin)
    assert origin.offsets == [0, 3000]


def test_content_that_changed_meanwhile_is_taken_from_the_beginning(store):
    data = some_bytes(5000)
    with pytest.raises(Unreachable):
        fetch(store, data, Memory(data, faults=[cut_at(3000, Unreachable)], tag='"old"'))
    origin = Memory(data, tag='"new"')
    fetch(store, data, origin)
    assert origin.asked == [(3000, '"old"')]


def test_a_validator_goes_to_nobody_but_who_gave_it(store):
    data = some_bytes(5000)
    mine = Memory(data, faults=[cut_at(10, Unreachable)], tag='"secret"', called="one.test")
    with pytest.raises(Unreachable):
        fetch(store, data, mine)
    other = Memory(data, faults=[cut_at(20, Unreachable)], tag='"x"', called="two.test")
    with pytest.raises(Unreachable):
        fetch(store, data, other)
    again = Memory(data, tag='"secret"', called="one.test")
    fetch(store, data, again)
    assert other.asked == [(10, "")]
    assert again.asked == [(20, '"secret"')]


@pytest.mark.parametrize(
    "note", [b"", b"{", b"[]", b'{"source": 1}', b"[" * 100_000, b"\xff", b'{"source": "x"}']
)
def test_a_damaged_note_costs_nothing_but_the_validator(store, note):
    data = some_bytes(100)
    with pytest.raises(Unreachable):
        fetch(store, data, Memory(data, faults=[cut_at(60, Unreachable)]))
    path = store.partial_path(blob_of(data).digest)
    path.with_name(f"{path.name}.json").write_bytes(note)
    origin = Memory(data)
    fetch(store, data, origin)
    assert origin.asked == [(60, "")]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (b"x" * 100, "does not match"),
        (b"x" * 99, "shorter than announced"),
        (b"x" * 101, "longer than announced"),
        (b"", "shorter than announced"),
    ],
    ids=["other", "short", "long", "empty"],
)
def test_wrong_bytes_are_fetched_once_more_and_then_refused(store, wrong, says):
    data = some_bytes(100)
    origin = Memory(data, faults=[other_bytes(wrong, 0)] * 99)
    with pytest.raises(IntegrityError, match=r"memory\.test gives a wrong blob") as caught:
        fetch(store, data, origin)
    assert says in caught.value.cause
    # What ended too early is first asked for the rest, which gave the same again
    assert len(origin.asked) == (4 if len(wrong) == 99 else 2)
    assert kept(store) == on_the_way(store) == []


def test_wrong_bytes_once_are_forgiven(store):
    data = some_bytes(100)
    origin = Memory(data, faults=[other_bytes(b"x" * 100)])
    fetch(store, data, origin)
    assert origin.offsets == [0, 0]


def test_a_server_that_lies_about_where_it_goes_on_is_noticed(store):
    data = some_bytes(1000)
    origin = Memory(data, faults=[cut_at(300), other_bytes(data[:700])])
    fetch(store, data, origin)
    assert origin.offsets == [0, 300, 0]


def test_a_partial_blob_that_is_damaged_is_replaced(store):
    data = some_bytes(1000)
    leave(store, data, b"?" * 400)
    origin = Memory(data)
    fetch(store, data, origin)
    assert origin.offsets == [400, 0]


@pytest.mark.parametrize(("size", "asked"), [(0, [0]), (999, [999]), (1000, []), (1001, [0])])
def test_a_partial_blob_of_any_length_is_taken_for_what_it_is(store, size, asked):
    data = some_bytes(1000)
    leave(store, data, (data + b"?")[:size])
    origin = Memory(data)
    fetch(store, data, origin)
    assert origin.offsets == asked


def test_not_one_byte_too_many_is_kept(store):
    data, given = some_bytes(100), []

    def endless(origin, data, sink, *_):
        sink.begin(0, "")
        for _ in range(1000):
            sink.write(b"x" * 30)
            given.append(store.fetched(blob_of(data)))

    with pytest.raises(IntegrityError):
        fetch(store, data, Memory(data, faults=[endless, endless]))
    assert given == [30, 60, 90] * 2


def test_bytes_from_another_place_than_asked_for_are_refused(store):
    data = some_bytes(100)
    origin = Memory(data, faults=[cut_at(50), other_bytes(data[60:], start=60)])
    with pytest.raises(HostileInput, match="another part"):
        fetch(store, data, origin)
    fetch(store, data, Memory(data))


def test_an_empty_blob_is_not_asked_for(store):
    origin = Memory(b"")
    fetch(store, b"", origin)
    assert origin.asked == []


def test_a_blob_whose_size_is_announced_wrongly_harms_nothing(store):
    data = some_bytes(100)
    fetch(store, data, Memory(data))
    for size in (99, 101):
        lie = Descriptor(media_type="", digest=blob_of(data).digest, size=size)
        with pytest.raises(IntegrityError):
            asyncio.run(store.fetch(lie, Memory(data)))
        assert store.path(lie.digest).read_bytes() == data


def test_what_the_sink_says_is_not_lost_in_the_words_of_the_origin(store):
    data = some_bytes(100)

    def misleading(origin, data, sink, *_):
        sink.begin(0, "")
        try:
            sink.write(data + b"?")
        except IntegrityError as problem:
            raise Cut("the line broke") from problem

    def silent(origin, data, sink, *_):
        sink.begin(0, "")
        try:
            sink.write(data + b"?")
        except IntegrityError:
            return

    with pytest.raises(IntegrityError, match="wrong blob"):
        fetch(store, data, Memory(data, faults=[misleading, silent]))


def test_interruption_by_the_report_leaves_what_came(store, monkeypatch):
    monkeypatch.setattr(partial, "STEP", 1)
    data = some_bytes(100_000)

    def report(done):
        if done >= 50_000:
            raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        fetch(store, data, Memory(data, chunk=10_000), report)
    assert kept(store) == []
    origin = Memory(data)
    fetch(store, data, origin)
    assert origin.asked == [(50_000, '"1"')]


def test_an_origin_cannot_swallow_an_interruption(store, monkeypatch):
    monkeypatch.setattr(partial, "STEP", 1)
    data = some_bytes(100)

    def swallowing(origin, data, sink, *_):
        sink.begin(0, "")
        with suppress(Interrupted):
            sink.write(data[:50])

    def report(done):
        raise Interrupted("stopped")

    origin = Memory(data, faults=[swallowing])
    with pytest.raises(Interrupted):
        fetch(store, data, origin, report)
    assert len(origin.asked) == 1


def test_cancellation_leaves_what_came_and_waits_for_the_writer(store):
    data = some_bytes(100_000)
    stall = Stall(40_000)
    origin = Memory(data, faults=[stall])

    async def work():
        task = asyncio.create_task(store.fetch(blob_of(data), origin))
        await until(stall.reached.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert origin.at_once == 0

    asyncio.run(work())
    again = Memory(data)
    fetch(store, data, again)
    assert again.asked == [(40_000, '"1"')]


def test_cancellation_ends_an_origin_that_hears_nothing_of_it(store):
    data = some_bytes(100)
    entered = []

    def deaf(origin, data, sink, *_):
        sink.begin(0, "")
        while True:
            entered.append(1)
            sink.write(b"")

    async def work():
        task = asyncio.create_task(store.fetch(blob_of(data), Memory(data, faults=[deaf])))
        await until(lambda: entered)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    assert on_the_way(store) == []


def test_cancellation_while_old_bytes_are_read_keeps_them(store, monkeypatch):
    data = some_bytes(5 << 20)
    path = leave(store, data, data[:-1])
    path.with_name(f"{path.name}.json").write_text('{"source": "memory.test", "validator": "v"}')
    reading = []
    read = os.readv

    def slow(handle, views):
        reading.append(1)
        while len(reading) == 1 and not stopped:
            pass
        return read(handle, views)

    stopped = []
    monkeypatch.setattr(os, "readv", slow)

    async def work():
        task = asyncio.create_task(store.fetch(blob_of(data), Memory(data)))
        await until(lambda: reading)
        task.cancel()
        await asyncio.sleep(0)
        stopped.append(1)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(work())
    origin = Memory(data, tag="v")
    fetch(store, data, origin)
    assert origin.asked == [(len(data) - 1, "v")]


def test_a_full_disk_is_named_and_given_back_what_was_written(store, monkeypatch):
    data = some_bytes(100)
    write = os.write

    def full(handle, view):
        if len(view) == 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(handle, view)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(NoSpace, match="no space left"):
        fetch(store, data, Memory(data, chunk=93))
    assert kept(store) == on_the_way(store) == []


def test_a_damaged_blob_is_replaced(store):
    data = some_bytes(1000)
    fetch(store, data, Memory(data))
    store.path(blob_of(data).digest).write_bytes(data[:-1])
    assert not store.has(blob_of(data))
    fetch(store, data, Memory(data))


def test_progress_is_told_in_steps_and_the_end_once(store, monkeypatch):
    monkeypatch.setattr(partial, "PERIOD", 1e9)
    data, told = some_bytes(17 << 20), []
    fetch(store, data, Memory(data), told.append)
    assert told == [4 << 20, 8 << 20, 12 << 20, 16 << 20, 17 << 20]


def test_progress_is_told_on_a_slow_line_too(store, monkeypatch):
    monkeypatch.setattr(partial, "PERIOD", 0.0)
    told = []
    fetch(store, some_bytes(50), Memory(some_bytes(50), chunk=20), told.append)
    assert told == [20, 40, 50]


def test_a_blob_is_durable_before_it_has_its_name(store, monkeypatch):
    data, seen = some_bytes(100), []
    sync = os.fsync

    def look(handle):
        seen.append((os.fstat(handle).st_size, store.has(blob_of(data))))
        sync(handle)

    monkeypatch.setattr(os, "fsync", look)
    fetch(store, data, Memory(data))
    assert seen == [(100, False)]


# --- several ---------------------------------------------------------------------------------


def fetch_layers(store, tmp_path, contents, origin, parallel=3):
    cx = FakeContext(tmp_path / "cx")
    asyncio.run(fetch_all(store, origin, [blob_of(data) for data in contents], cx, parallel))
    for data in contents:
        assert store.path(blob_of(data).digest).read_bytes() == data
    return cx.reports


def test_all_layers_are_fetched_once_with_progress_of_each(store, tmp_path, monkeypatch):
    monkeypatch.setattr(partial, "STEP", 1000)
    layers = [some_bytes(size, size) for size in (1500, 2500, 10)]
    twice = [*layers, layers[0]]
    origin = Memory(*layers, chunk=1000)
    reports = fetch_layers(store, tmp_path, twice, origin)
    assert sorted(origin.order) == sorted(blob_of(data).digest for data in layers)
    for number, data in enumerate(layers, 1):
        name = f"layer {number}/3 {blob_of(data).digest[7:19]}"
        mine = [(done, total) for what, done, total in reports if what == name]
        assert mine[-1] == (len(data), len(data))
        assert mine.count((len(data), len(data))) == 1
        assert mine == sorted(mine)
    assert {
        what for what, *_ in reports if not re.fullmatch(r"layer [123]/3 [0-9a-f]{12}", what)
    } == set()


def test_the_names_of_all_layers_are_made_durable_at_once(store, tmp_path, monkeypatch):
    layers = [some_bytes(size) for size in range(100, 110)]
    places = []
    sync = os.fsync

    def look(handle):
        places.append(str(Path(f"/proc/self/fd/{handle}").readlink()))
        sync(handle)

    monkeypatch.setattr(os, "fsync", look)
    fetch_layers(store, tmp_path, layers, Memory(*layers))
    assert places.count(str(store.blobs)) == 1
    assert places[-1] == str(store.blobs)
    assert len(places) == 11


def test_layers_that_are_here_are_told_once_and_not_fetched(store, tmp_path):
    layers = [some_bytes(size) for size in (100, 200)]
    fetch_layers(store, tmp_path, layers, Memory(*layers))
    origin = Memory(*layers)
    reports = fetch_layers(store, tmp_path, layers, origin)
    assert origin.asked == []
    assert sorted((done, total) for _, done, total in reports) == [(100, 100), (200, 200)]


def test_no_more_than_so_many_are_fetched_at_once_the_biggest_first(store, tmp_path):
    layers = [some_bytes(size) for size in (5, 900, 20, 700, 30, 800)]
    for parallel in (1, 2, 4):
        origin = Memory(*layers, chunk=1)
        fresh = BlobStore(tmp_path / str(parallel))
        fetch_layers(fresh, tmp_path, layers, origin, parallel)
        assert origin.most_at_once == parallel
        sizes = [len(origin.contents[digest]) for digest in origin.order]
        assert sizes == sorted(sizes, reverse=True)


def test_one_that_fails_ends_the_others_and_is_the_error(store, tmp_path):
    layers = [some_bytes(size) for size in (100, 200, 300)]
    stall = Stall(150)

    def missing(origin, data, sink, offset, validator, stopped):
        stall.reached.wait(30)
        raise NotFound("blob", "sha256:…")

    # The biggest hangs, the next one is not there, the last never begins
    origin = Memory(*layers, faults=[stall, missing])
    with pytest.raises(NotFound):
        fetch_layers(store, tmp_path, layers, origin, 2)
    assert origin.at_once == 0
    assert kept(store) == []
    again = Memory(*layers)
    fetch_layers(store, tmp_path, layers, again)
    assert sorted(again.offsets) == [0, 0, 150]


def test_too_little_room_is_said_before_a_byte_is_fetched(store, tmp_path, monkeypatch):
    layers = [some_bytes(3 << 20), some_bytes(2 << 20)]
    origin = Memory(*layers)
    needed = (5 << 20) + download.MARGIN
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=needed - 1))
    with pytest.raises(NoSpace) as caught:
        fetch_layers(store, tmp_path, layers, origin)
    assert "5 MiB are to be fetched" in caught.value.cause
    assert "69 MiB are free" in caught.value.cause
    assert "banger image cache prune" in caught.value.hints
    assert origin.asked == []
    # What is here in part is not needed again
    leave(store, layers[0], layers[0][:1])
    fetch_layers(store, tmp_path, layers, origin)


def test_what_is_fetched_is_held_meanwhile(store, tmp_path):
    first, second = some_bytes(300), some_bytes(100)
    stall = Stall(50)

    def wait_and_prune(origin, data, sink, *rest):
        assert store.prune(0) == []
        stall.go.set()
        stall(origin, data, sink, *rest)

    origin = Memory(first, second)
    origin.faults = [cut_at(300), wait_and_prune]
    fetch_layers(store, tmp_path, [first, second], origin, 1)


def test_the_note_holds_who_gave_the_bytes_and_nothing_else(store):
    data = some_bytes(100)
    with pytest.raises(Unreachable):
        fetch(store, data, Memory(data, faults=[cut_at(60, Unreachable)]))
    path = store.partial_path(blob_of(data).digest)
    note = path.with_name(f"{path.name}.json")
    assert json.loads(note.read_text()) == {"source": "memory.test", "validator": '"1"'}
    assert note.stat().st_mode & 0o777 == path.stat().st_mode & 0o777 == 0o600
    assert on_the_way(store) == [path.name, note.name]
