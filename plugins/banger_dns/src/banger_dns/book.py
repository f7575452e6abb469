"""The names that are published: one file, written by the daemon and read by the responder."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from banger_core.api import FileLock, ProcessId, VmRecord, in_thread, process_alive, write_atomic

BOOK = "names.json"
"""The file's name in the plugin's state directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """The name of one VM: it stands for ``addresses`` as long as ``process``, its VMM, lives.

    ``networks`` are those that the addresses lie in, ``ADDRESS/PREFIX``, as far as they are known.
    """

    name: str
    vm_id: str
    addresses: tuple[str, ...]
    networks: tuple[str, ...] = ()
    process: ProcessId | None = None

    @property
    def is_live(self) -> bool:
        """Whether the VM's process runs; one that is not known is taken to."""
        return self.process is None or process_alive(self.process)

    @classmethod
    def of(cls, vm: VmRecord) -> Name:
        """What a VM is published as: on a network of the VMM's own, the host's end of it, where
        published ports keep their numbers; else the guest's own addresses.
        """
        net = vm.plan.net
        own = net.kind == "tap" or not net.host_address
        guest = [each for each in (net.guest_address, net.guest_address6) if each] if own else []
        addresses = [each.partition("/")[0] for each in guest] or [net.host_address]
        return cls(
            name=vm.name.lower(),
            vm_id=vm.id,
            addresses=tuple(each for each in addresses if each),
            networks=tuple(guest),
            process=vm.process,
        )

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Name:
        """Read what ``to_json`` wrote. Raises ValueError, KeyError or TypeError."""
        addresses = tuple(str(ipaddress.ip_address(each)) for each in data["addresses"])
        process = data["process"]
        return cls(
            name=str(data["name"]),
            vm_id=str(data["vm_id"]),
            addresses=addresses,
            networks=tuple(data["networks"]),
            process=None if process is None else ProcessId(**process),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return asdict(self)


class Book:
    """The file in ``directory``: readers see the old or the new one, writers queue up."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / BOOK
        self._lock = directory / f"{BOOK}.lock"

    def read(self) -> list[Name]:
        """Return the names; none when the file is missing or not what we write."""
        try:
            return [Name.from_json(each) for each in json.loads(self.path.read_bytes())["names"]]
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return []

    async def enter(self, name: Name) -> None:
        """Enter ``name``, in place of what its VM was before."""
        await self._change(lambda names: [*_without(names, name.vm_id), name])

    async def strike(self, vm_id: str) -> None:
        """Take the name of a VM out. Idempotent."""
        await self._change(lambda names: _without(names, vm_id))

    async def strike_dead(self) -> None:
        """Take out the names of VMs whose process is gone."""
        await self._change(lambda names: [name for name in names if name.is_live])

    async def _change(self, change: Callable[[list[Name]], list[Name]]) -> None:
        async with FileLock(self._lock):
            before = self.read()
            after = sorted(change(before), key=lambda name: name.name)
            if after != before:
                text = json.dumps({"names": [name.to_json() for name in after]}, indent=1)
                await in_thread(write_atomic, self.path, text + "\n")


def _without(names: list[Name], vm_id: str) -> list[Name]:
    return [name for name in names if name.vm_id != vm_id]
