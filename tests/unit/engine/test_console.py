from __future__ import annotations

import asyncio
import stat
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banger_core.engine.console import ConsoleRing
from banger_core.escapes import EscapeStripper, strip_escapes

PIECES = st.sampled_from(
    [b"\x1b", b"[", b"]", b"31m", b"0;", b"\x07", b"\x9b", b"\xc2\x9b", b"\\", b"P", b"_", b"\r",
     b"\n", b"\t", b"\x00", b"text", b"\xc3", b"\xa9", b"\xe2\x80\xae", b"\x7f", b"\x18", b" "]
)  # fmt: skip
NOISE = st.lists(PIECES | st.binary(max_size=4), max_size=30).map(b"".join)


@given(NOISE)
def test_no_control_survives(data):
    shown = strip_escapes(data)
    assert {c for c in shown if unicodedata.category(c) == "Cc"} <= {"\t", "\n"}
    assert strip_escapes(shown) == shown


@given(st.text(max_size=50))
def test_no_control_survives_in_text(text):
    assert {c for c in strip_escapes(text) if unicodedata.category(c) == "Cc"} <= {"\t", "\n"}


@given(st.lists(NOISE, max_size=6))
def test_pieces_are_as_safe_as_the_whole(chunks):
    stripper = EscapeStripper()
    shown = "".join([*map(stripper.feed, chunks), stripper.finish()])
    assert {c for c in shown if unicodedata.category(c) == "Cc"} <= {"\t", "\n"}


@given(st.data())
def test_where_output_is_cut_does_not_show(data):
    whole = "".join(
        data.draw(
            st.lists(st.sampled_from(["a\r\n", "\x1b[31m", "é", "\x1b]0;t\x07", "b\rc", "\x1b(B"]))
        )
    ).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    stripper = EscapeStripper()
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    shown = "".join(map(stripper.feed, pieces)) + stripper.finish()
    assert shown == strip_escapes(whole)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (b"\x1b[1;31mred\x1b[0m", "red"),
        ("\x9b31mred".encode(), "red"),
        (b"\x1b]0;title\x07text", "text"),
        (b"\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1b]0;never ended\nnext", "\nnext"),
        (b"\x1bP1$r0m\x1b\\after", "after"),
        (b"\x1b(B\x1b=\x1b>\x1bMx", "x"),
        (b"50%\r100%\r\nok\r\r\n", "50%\n100%\nok\n"),
        (b"a\x00b\x08c\x7fd\te", "abcd\te"),
        (b"\xff\xfe", "\ufffd\ufffd"),
        ("user\u202etxt.exe".encode(), "usertxt.exe"),
        (b"\x1b", ""),
        (b"\x1b[", ""),
        ("größe 😀".encode(), "größe 😀"),
    ],
)
def test_examples(raw, shown):
    assert strip_escapes(raw) == shown


def test_an_endless_sequence_is_not_held_for_ever():
    stripper = EscapeStripper()
    stripper.feed(b"\x1b]0;")
    for _ in range(100):
        stripper.feed(b"x" * 100)
        assert len(stripper._held) <= 400


# --- the ring --------------------------------------------------------------------------------


@given(st.lists(st.binary(max_size=40), max_size=30), st.integers(2, 60), st.data())
def test_the_ring_keeps_the_end_and_stays_small(tmp_path_factory, chunks, limit, data):
    path = tmp_path_factory.mktemp("ring") / "console"
    ring, everything = ConsoleRing(path, limit), b""
    for chunk in chunks:
        ring.append(chunk)
        everything += chunk
        if data.draw(st.booleans()):
            ring.close()
            ring = ConsoleRing(path, limit)
        kept = ring.read()
        assert everything.endswith(kept)
        assert min(len(everything), limit // 2) <= len(kept) <= limit
        assert sum(file.stat().st_size for file in path.parent.iterdir()) <= limit
    tail = data.draw(st.integers(0, 100))
    assert ring.read(tail) == ring.read()[len(ring.read()) - min(tail, len(ring.read())) :]
    ring.close()


def test_private_and_two_files(tmp_path):
    ring = ConsoleRing(tmp_path / "console", 10)
    ring.append(b"x" * 9)
    assert {p.name for p in tmp_path.iterdir()} == {"console", "console.old"}
    assert {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {0o600}
    ring.close()
    ring.close()
    with pytest.raises(ValueError, match="closed"):
        ring.append(b"x")


def test_an_empty_ring_reads_nothing(tmp_path):
    assert ConsoleRing(tmp_path / "console").read() == b""


def test_followers_get_what_comes_after_they_asked(tmp_path):
    async def follow() -> None:
        ring = ConsoleRing(tmp_path / "console")
        ring.append(b"before ")
        first = ring.follow()
        ring.append(b"one ")
        second = ring.follow()
        reading = asyncio.create_task(collect(first))
        await asyncio.sleep(0)
        ring.append(b"two ")
        await asyncio.sleep(0)
        ring.append(b"three")
        ring.close()
        assert await asyncio.wait_for(reading, 60) == b"one two three"
        assert await asyncio.wait_for(collect(second), 60) == b"two three"
        assert await asyncio.wait_for(collect(ring.follow()), 60) == b""

    asyncio.run(follow())


def test_a_slow_follower_loses_the_oldest_and_a_gone_one_everything(tmp_path):
    async def follow() -> None:
        ring = ConsoleRing(tmp_path / "console", 100)
        slow, gone = ring.follow(), ring.follow()
        del gone
        assert len(ring._followers) == 1
        for number in range(50):
            ring.append(b"%09d\n" % number)
        ring.close()
        seen = (await collect(slow)).split()
        assert seen == [b"%09d" % number for number in range(40, 50)]

    asyncio.run(follow())


def test_a_full_disk_costs_output_not_the_vm():
    from pathlib import Path

    async def follow() -> None:
        ring = ConsoleRing(Path("/dev/full"))
        follower = ring.follow()
        ring.append(b"still seen")
        ring.close()
        assert await collect(follower) == b"still seen"

    asyncio.run(follow())


async def collect(chunks) -> bytes:
    return b"".join([chunk async for chunk in chunks])
