"""The host's side of the helper's protocol, with guests that keep to it and guests that do not."""

from __future__ import annotations

import asyncio
import logging

import pytest

from banger_core.errors import GuestFailed, HostileInput
from banger_core.guest import helper as module
from banger_core.guest.helper import ANSWER_MAX, GuestHelper


class Guest:
    """A server whose ``say`` maps the words of a question to the bytes that come back."""

    def __init__(self, say):
        self.say, self.asked, self.connections = say, [], 0
        self.writers = []

    async def serve(self, reader, writer):
        self.connections += 1
        self.writers.append(writer)
        while line := await reader.readline():
            if not (words := line.decode().split()):
                continue
            self.asked.append(words)
            answer = self.say(words)
            if answer is None:
                writer.close()
                return
            writer.write(answer)


def answer(words, text="fine", *, version=1, status="ok"):
    return f"@banger {version} {words[2]} {status} {len(text)}\n{text}".encode()


def talk(tmp_path, say, conversation, before=b""):
    """Run ``conversation(helper, guest)`` with a guest that says ``before`` unasked."""
    guest = Guest(say)

    async def run():
        path = tmp_path / "helper"

        async def serve(reader, writer):
            writer.write(before)
            await guest.serve(reader, writer)

        server = await asyncio.start_unix_server(serve, path)
        helper = GuestHelper(lambda: asyncio.open_unix_connection(path), "web")
        try:
            return await asyncio.wait_for(conversation(helper, guest), 30)
        finally:
            helper.close()
            for writer in guest.writers:
                writer.transport.abort()
            server.close()
            await server.wait_closed()

    return asyncio.run(run())


def test_questions_use_one_connection_and_ids_that_differ(tmp_path):
    async def conversation(helper, guest):
        await helper.open()
        assert await helper.ask("health") == "fine"
        assert await helper.ask("time 123") == "fine"
        assert guest.connections == 1
        first, second = guest.asked
        assert first[:2] == ["@banger", "1"]
        assert (first[3:], second[3:]) == (["health"], ["time", "123"])
        assert first[2] != second[2]

    talk(tmp_path, answer, conversation)


def test_what_is_left_of_earlier_answers_is_skipped(tmp_path):
    left = b"half of an ans" + b"@banger 1 0123456789abcdef ok 3\nold" + b"\xff\0"

    async def conversation(helper, guest):
        assert await helper.ask("health") == "fine"

    talk(tmp_path, answer, conversation, left)


def test_a_helper_that_goes_away_is_found_again(tmp_path):
    replies = iter([None])

    async def conversation(helper, guest):
        with pytest.raises(GuestFailed, match="does not answer") as caught:
            await helper.ask("health")
        assert caught.value.cause == "it hung up"
        assert await helper.ask("health") == "fine"
        assert guest.connections == 2

    talk(tmp_path, lambda words: next(replies, answer(words)), conversation)


def test_silence_has_an_end(tmp_path):
    async def conversation(helper, guest):
        with pytest.raises(GuestFailed) as caught:
            await helper.ask("health", deadline=0.05)
        assert caught.value.cause == "nothing came within 0.05 s"

    talk(tmp_path, lambda _: b"", conversation)


def test_an_answer_that_never_ends_has_an_end(tmp_path):
    async def conversation(helper, guest):
        with pytest.raises(GuestFailed):
            await helper.ask("health", deadline=0.05)

    talk(tmp_path, lambda words: f"@banger 1 {words[2]} ok 50\nshort".encode(), conversation)


def test_no_and_another_version_are_said(tmp_path):
    async def refused(helper, guest):
        with pytest.raises(GuestFailed, match="refuses") as caught:
            await helper.ask("health")
        assert caught.value.cause == "health: not \x1b[31mnow".replace("\x1b", "?")

    async def newer(helper, guest):
        with pytest.raises(GuestFailed) as caught:
            await helper.ask("health")
        assert "version 2" in caught.value.cause

    talk(tmp_path, lambda words: answer(words, "not \x1b[31mnow", status="no"), refused)
    talk(tmp_path, lambda words: answer(words, version=2), newer)


FLOODS = {
    "lines": lambda _: b"spam\n" * 100_000,
    "no line": lambda _: b"x" * 1_000_000,
    "length": lambda words: f"@banger 1 {words[2]} ok {ANSWER_MAX + 1}\n".encode(),
}


@pytest.mark.parametrize("kind", FLOODS)
def test_a_flood_ends_the_conversation_and_is_not_listened_to_again(tmp_path, kind, caplog):
    async def conversation(helper, guest):
        for _ in range(3):
            with pytest.raises((HostileInput, GuestFailed)):
                await helper.ask("health")
        assert guest.connections == 1

    with caplog.at_level(logging.WARNING):
        talk(tmp_path, FLOODS[kind], conversation)
    (record,) = [each for each in caplog.records if each.name == "banger.guest"]
    assert record.getMessage().startswith("the guest of web misuses")


def test_a_flooding_guest_is_heard_again_after_its_penance(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PENANCE", 0.0)
    replies = iter([b"spam\n" * 100_000])

    async def conversation(helper, guest):
        with pytest.raises(HostileInput):
            await helper.ask("health")
        assert await helper.ask("health") == "fine"

    talk(tmp_path, lambda words: next(replies, answer(words)), conversation)


def test_what_is_said_unasked_stays_with_the_guest(tmp_path):
    """The guest can write until the buffers of the socket are full, and the reader keeps little."""

    async def conversation(helper, guest):
        await helper.open()
        assert await helper.ask("health") == "fine"
        writer = guest.writers[0]
        for _ in range(200):
            writer.write(b"y" * 65536)
            await asyncio.sleep(0)
        reader = helper._stream[0]
        assert len(reader._buffer) <= 4 * 65536
        assert writer.transport.get_write_buffer_size() > 0

    talk(tmp_path, answer, conversation)


def test_questions_wait_for_each_other(tmp_path):
    async def conversation(helper, guest):
        assert await asyncio.gather(*(helper.ask("stats") for _ in range(20))) == ["fine"] * 20
        assert guest.connections == 1

    talk(tmp_path, answer, conversation)


def test_nothing_but_an_operation_and_a_number_can_be_asked(tmp_path):
    async def conversation(helper, guest):
        for words in ("health\n@banger 1 x shutdown", "time now", "Health", ""):
            with pytest.raises(AssertionError):
                await helper.ask(words)
        assert guest.asked == []

    talk(tmp_path, answer, conversation)


def test_nobody_there_is_no_error_until_somebody_asks(tmp_path):
    async def run():
        helper = GuestHelper(lambda: asyncio.open_unix_connection(tmp_path / "none"), "web")
        await helper.open()
        with pytest.raises(GuestFailed, match="does not answer"):
            await helper.ask("health")

    asyncio.run(run())
