"""What networks do that make things on the host. Standard library only."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from banger_core.contracts import Network

if TYPE_CHECKING:
    from banger_core.contracts import Context
    from banger_core.model import NetPlan, VmRequest


@runtime_checkable
class HostNetwork(Network, Protocol):
    """A network that makes things on the host which others may stand in the way of, and which
    outlive whoever made them.
    """

    async def check(self, request: VmRequest, cx: Context) -> None:
        """See, before anything is made, that a VM could be connected as asked; changes nothing.
        Raises HostNotReady or Conflict with the command that helps.
        """

    async def sweep(self, vm_ids: Collection[str], cx: Context) -> None:
        """Remove what this banger made on the host for VMs that are not among ``vm_ids``: their
        records are lost.
        """


@runtime_checkable
class ChangingNetwork(Network, Protocol):
    """A network that can change what a VM may reach while it runs."""

    async def change(self, plan: NetPlan, cx: Context) -> None:
        """Make ``outbound`` and ``links`` of a VM that is up what ``plan`` says, all of it at one
        moment or nothing; idempotent. Raises Conflict when it is not up.
        """


@runtime_checkable
class HoldingNetwork(Network, Protocol):
    """A network of the kind ``tap`` that can keep a VM cut off, whatever its VMM does: what goes on
    from a snapshot is, until it is known who it is. Only of VMs on such networks are copies made.
    """

    async def hold(self, plan: NetPlan, cx: Context) -> None:
        """Let nothing pass between the VM and the host, after ``up`` and before the VMM starts.
        Idempotent; ``down`` ends it, too.
        """

    async def release(self, plan: NetPlan, cx: Context) -> None:
        """Let pass again what ``up`` lets pass. Idempotent."""
