"""Host keys that are pinned: what is there, and forgetting them on purpose."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from banger_core.contracts import Context, HostPin, PinStore
from banger_core.engine.ssh_image import look_at_image, wants_image
from banger_core.errors import BangerError, NotFound
from banger_core.model import VmRecord, VmState

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine

_REACHABLE = (VmState.RUNNING, VmState.PAUSED)

log = logging.getLogger("banger.engine")


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What went, and what was pinned again at once because its VM runs. ``vm`` is that VM, or the
    stopped one that was meant, None when the name is of no VM.
    """

    vm: VmRecord | None
    removed: list[HostPin]
    pinned: list[HostPin]


async def list_pins(engine: Engine) -> list[HostPin]:
    """List what is pinned, by every plugin that pins."""
    return [pin for store, cx in _stores(engine) for pin in await store.list_pins(cx)]


async def pin_again(engine: Engine, record: VmRecord) -> None:
    """Pin what stands for a VM that can be reached, and nothing else for its names."""
    for store, cx in _stores(engine):
        await store.attach(record, cx)


def is_stale(engine: Engine, pin: HostPin) -> bool:
    """Say whether ``pin`` was made for a VM that is gone, or that does not run."""
    if not pin.vm_id:
        return False
    record = next((vm for vm in engine.records.vms() if vm.id == pin.vm_id), None)
    return record is None or record.state not in (*_REACHABLE, VmState.STARTING)


async def forget(engine: Engine, name: str) -> Forgotten:
    """Forget what is pinned for ``name``: a VM (name, id, start of an id, ``NAME.vm``), an
    address, or any name in the file. The keys of a VM that runs are pinned again: they were made
    before it booted, and so are known without asking anybody.

    Raises NotFound when nothing is pinned for it and no VM that runs is meant.
    """
    found = _meant(engine, name)
    async with AsyncExitStack() as stack:
        if found is not None:
            # Nobody starts, stops or deletes it meanwhile
            await stack.enter_async_context(engine.machines.locked(found.id))
            found = _meant(engine, found.id)
            found = await _seen_anew(engine, found) if found is not None else None
        removed, pinned = [], []
        for store, cx in _stores(engine):
            for each in _names(name, found):
                removed += await store.forget(each, cx)
            if found is not None and found.state in _REACHABLE:
                await store.attach(engine.ssh.current(found), cx)
                pinned += [pin for pin in await store.list_pins(cx) if pin.vm_id == found.id]
    if not removed and not pinned:
        raise NotFound(
            "pinned host",
            name[:255],
            [host for pin in await list_pins(engine) for host in pin.names],
            hints=["banger ssh known-hosts"],
        )
    return Forgotten(vm=found, removed=removed, pinned=pinned)


async def _seen_anew(engine: Engine, found: VmRecord) -> VmRecord:
    """Forget what the image's own server showed; look again at once where it can be reached.

    Raises GuestFailed, with nothing forgotten, when it does not answer.
    """
    fresh = replace(found, image_host_keys=())
    if found.state in _REACHABLE and wants_image(engine.ssh.current(found).plan.ssh):
        fresh = await look_at_image(fresh, engine.run, lambda: True)
    if fresh != found:
        engine.records.update_vm(fresh)
    return fresh


def _stores(engine: Engine) -> Iterator[tuple[PinStore, Context]]:
    attachments = engine.registry.network_attachments
    for name in attachments.names():
        try:
            attachment = attachments.load(name)
        except BangerError as problem:
            log.warning("attachment %s is left out: %s", name, problem.summary)
            continue
        if isinstance(attachment, PinStore):
            yield attachment, engine.context(name)


def _meant(engine: Engine, name: str) -> VmRecord | None:
    """The VM that goes by ``name``, by its id, or at the address ``name``.

    Raises UsageProblem for the start of several ids.
    """
    for vm in engine.records.vms():
        host, port = vm.plan.net.ssh
        if name in (host, f"[{host}]:{port}", f"{host}:{port}"):
            return vm
    try:
        return engine.records.vm(name.removesuffix(".vm").removesuffix(".image"))
    except NotFound:
        return None


def _names(name: str, found: VmRecord | None) -> list[str]:
    """What known_hosts may call it."""
    host, separator, port = name.rpartition(":")
    names = [name, f"{name}.vm", f"{name}.image.vm"]
    if separator and port.isdecimal() and ":" not in host:
        names.append(f"[{host}]:{port}")
    if found is not None:
        names += [f"{found.name}.vm", f"{found.name}.image.vm", found.plan.net.ssh[0]]
    return list(dict.fromkeys(names))
