"""Links between VMs: who is linked with whom, and who can be.

A link is written in the plan of one of the two, as the other's tap, and is for both. A tap is named
after its VM's id, so what is said of a VM that is gone is about nobody.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from banger_core.errors import NotFound, UsageProblem
from banger_core.model import NetPlan, VmRecord

TAP_KIND = "tap"


def linked_with(net: NetPlan, everybody: Iterable[VmRecord]) -> list[VmRecord]:
    """Return those of ``everybody`` that a VM with the network ``net`` is linked with, whichever of
    the two says so.
    """
    return [
        other
        for other in everybody
        if other.plan.net.tap in net.links or (net.tap and net.tap in other.plan.net.links)
    ]


def with_links(net: NetPlan, everybody: Iterable[VmRecord]) -> NetPlan:
    """Return ``net`` with all links that it has at this moment, for the network to make so."""
    return replace(net, links=taps(linked_with(net, everybody)))


def taps(records: Iterable[VmRecord]) -> tuple[str, ...]:
    """Return the names by which plans tell of these VMs."""
    return tuple(dict.fromkeys(record.plan.net.tap for record in records))


def find_linkable(
    net: NetPlan, refs: Iterable[str], existing: Iterable[VmRecord]
) -> list[VmRecord]:
    """Return the VMs of ``existing`` that one with the network ``net`` is to be linked with; each
    reference is a name, an id or a unique prefix of an id. Raises NotFound and UsageProblem.
    """
    if net.kind != TAP_KIND:
        raise UsageProblem(
            f"the network {net.network} cannot link machines",
            cause="each machine on it is on its own",
            hints=["banger vm create --network bridge --link VM"],
        )
    there = [vm for vm in existing if vm.plan.net.network == net.network]
    return [_one(net, ref, there) for ref in refs]


def _one(net: NetPlan, ref: str, there: list[VmRecord]) -> VmRecord:
    named = [vm for vm in there if ref in (vm.name, vm.id)]
    found = named or [vm for vm in there if ref and vm.id.startswith(ref)]
    if len(found) > 1:
        raise UsageProblem(
            f"{ref!r} is ambiguous",
            cause=f"it begins the ids of {', '.join(vm.name for vm in found)}",
            hints=["give the name, or more of the id"],
        )
    if not found:
        noun, names = f"VM on the network {net.network}", [vm.name for vm in there]
        raise NotFound(noun, ref, names, hints=[f"banger net show {net.network}"])
    return found[0]
