"""The audit log: what it declares, its contracts' suites, and a whole life written down."""

from __future__ import annotations

import asyncio
import json
import stat
from typing import ClassVar

import pytest
from pydantic import ValidationError

from audit_log import plugin
from audit_log.settings import AuditSettings
from audit_log.sink import AuditLog
from banger_core.testing.context import FakeContext
from banger_core.testing.contracts import EventSinkContract, SettingsContract
from banger_core.testing.contracts.samples import sample_events


class TestSink(EventSinkContract):
    make = AuditLog


class TestSettings(SettingsContract):
    make = AuditSettings
    valid: ClassVar = {"file": "/var/log/audit.jsonl"}


def lines(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_lines_are_in_order_private_and_complete(fake_context):
    async def tell():
        for event in sample_events():
            await AuditLog().handle(event, fake_context)

    asyncio.run(tell())
    file = fake_context.state_dir / "audit.jsonl"
    assert [line["kind"] for line in lines(file)] == [event.kind for event in sample_events()]
    assert lines(file)[0]["time"] == "2023-11-14T22:13:21Z"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_file_can_be_chosen_and_moved_away(banger_paths, tmp_path):
    cx = FakeContext(banger_paths.state, {"file": tmp_path / "log"})
    first, second, *_ = sample_events()
    asyncio.run(AuditLog().handle(first, cx))
    (tmp_path / "log").rename(tmp_path / "log.1")
    asyncio.run(AuditLog().handle(second, cx))
    assert [line["kind"] for line in lines(tmp_path / "log")] == [second.kind]
    with pytest.raises(ValidationError):
        AuditSettings(file="audit.jsonl")


def test_it_writes_down_the_life_of_a_machine(fake_engine):
    async def life(engine):
        await engine.run_vm("web")
        await engine.delete_vm("web")

    engine = fake_engine(plugin)
    engine.play(life)
    found = lines(engine.state_of("audit-log") / "audit.jsonl")
    assert [line["kind"] for line in found if line["kind"].startswith("vm.")] == [
        *("vm.ready", "vm.deleted")
    ]
    assert {line["data"]["name"] for line in found if line["vm"]} == {"web"}


def test_a_daemon_keeps_it_too(banger_daemon):
    house = banger_daemon("audit_log.plugin")
    house.banger("vm", "run", "--detach", "--name", "web")
    house.banger("vm", "delete", "--force", "web")
    house.stop()
    found = lines(house.paths.state / "plugins" / "audit-log" / "audit.jsonl")
    assert [line["kind"] for line in found][-1] == "operation.done"
    assert [line for line in found if line["kind"] == "vm.deleted"]
