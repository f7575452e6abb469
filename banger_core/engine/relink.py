"""Links of a VM that are made and undone while it exists."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from banger_core.errors import UsageProblem
from banger_core.model import VmRecord
from banger_core.plan.links import find_linkable, linked_with, taps

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine


@dataclass(frozen=True, slots=True, kw_only=True)
class Relinked:
    """What comes of it: ``links`` are those that the VM's own plan has then, ``others`` the VMs
    whose plans say of a link that is no more, and ``after`` the same without it.
    """

    links: tuple[str, ...]
    others: tuple[VmRecord, ...] = ()
    after: tuple[VmRecord, ...] = ()

    @classmethod
    def of(
        cls, engine: Engine, record: VmRecord, link: tuple[str, ...], unlink: tuple[str, ...]
    ) -> Self:
        """Decide it, changing nothing. Raises NotFound and UsageProblem."""
        net, everybody = record.plan.net, engine.records.vms()
        if not link and not unlink:
            return cls(links=net.links)
        wanted, gone = find_others(engine, record, link), find_others(engine, record, unlink)
        if both := [vm.name for vm in wanted if vm in gone]:
            raise UsageProblem(
                f"{both[0]} is to be linked and unlinked",
                cause="--link and --unlink name the same machine",
                hints=[f"banger vm set {record.name} --link {both[0]}"],
            )
        linked, no_more = taps(linked_with(net, everybody)), taps(gone)
        # Those that are gone are forgotten on the way
        kept = [tap for tap in net.links if tap in linked and tap not in no_more]
        new = [tap for tap in taps(wanted) if tap not in linked]
        others = tuple(vm for vm in gone if net.tap in vm.plan.net.links)
        return cls(
            links=(*kept, *new),
            others=others,
            after=tuple(_without(vm, net.tap) for vm in others),
        )


def find_others(engine: Engine, record: VmRecord, refs: Iterable[str]) -> list[VmRecord]:
    """Return the VMs that ``record`` is to be linked with, or not any more. Raises NotFound and
    UsageProblem.
    """
    refs = tuple(refs)
    found = find_linkable(record.plan.net, refs, engine.records.vms()) if refs else []
    if any(vm.id == record.id for vm in found):
        raise UsageProblem(
            f"{record.name} cannot be linked with itself",
            cause="a link is between two machines",
            hints=[f"banger net show {record.plan.net.network}"],
        )
    return found


def _without(record: VmRecord, tap: str) -> VmRecord:
    net = record.plan.net
    left = replace(net, links=tuple(each for each in net.links if each != tap))
    return replace(record, plan=replace(record.plan, net=left))
