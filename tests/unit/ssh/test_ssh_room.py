"""Policies that change while machines run: notes follow, or are withdrawn."""

from __future__ import annotations

import asyncio
import json
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace

import pytest

from banger_core.config.settings import Settings
from banger_core.engine.ssh import write_note
from banger_core.engine.ssh_room import SshRoom
from banger_core.errors import NotFound
from banger_core.model import VmState


class Locked(nullcontext):
    async def __aenter__(self):
        return None

    async def __aexit__(self, *_):
        return None


@pytest.fixture
def engine(paths, fresh_registry, make_record):
    record = replace(make_record("web"), state=VmState.RUNNING)

    def vm(vm_id):
        for each in engine.vms:
            if each.id == vm_id:
                return each
        raise NotFound("VM", vm_id, [])

    engine = SimpleNamespace(
        paths=paths,
        settings=Settings(),
        registry=fresh_registry(),
        vms=[record],
        machines=SimpleNamespace(locked=lambda _: Locked()),
    )
    engine.records = SimpleNamespace(vms=lambda: list(engine.vms), vm=vm)
    return engine


def configure(paths, text):
    paths.settings_file.write_text(text)
    paths.settings_file.chmod(0o600)


def test_notes_follow_the_configuration(engine, paths):
    room = SshRoom(engine)
    (record,) = engine.vms
    write_note(paths, room.target(record))
    before = paths.note("web").read_text()
    asyncio.run(room.refresh())
    assert paths.note("web").read_text() == before

    configure(paths, "[ssh]\ncompression = true\n")
    asyncio.run(room.refresh())
    assert "Compression=yes" in json.loads(paths.note("web").read_text())["argv"]
    assert "    Compression yes\n" in paths.ssh_block("web").read_text()


def test_a_policy_that_cannot_be_read_withdraws_them_until_it_can(engine, paths, caplog):
    room = SshRoom(engine)
    write_note(paths, room.target(engine.vms[0]))
    configure(paths, "[ssh]\ncompresion = true\n")
    asyncio.run(room.refresh())
    assert not paths.note("web").exists()
    assert not paths.ssh_block("web").exists()
    assert "web cannot be reached" in caplog.text

    configure(paths, "[ssh]\n")
    asyncio.run(room.refresh())
    assert paths.note("web").exists()
    assert paths.ssh_block("web").exists()


def test_machines_that_do_not_run_or_are_gone_meanwhile_get_none(engine, paths):
    room = SshRoom(engine)
    running = engine.vms[0]
    configure(paths, "[ssh]\ncompression = true\n")
    engine.vms[0] = replace(running, state=VmState.STOPPED)
    asyncio.run(room.refresh())

    configure(paths, "[ssh]\ncompression = false\n")
    engine.records.vms = lambda: [running]
    engine.vms.clear()
    asyncio.run(room.refresh())
    assert not paths.note("web").exists()
