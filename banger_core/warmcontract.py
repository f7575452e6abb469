"""The contract of drivers whose VMs begin as a machine that was saved. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from banger_core.contracts import VmmDriver

if TYPE_CHECKING:
    from pathlib import Path

    from banger_core.contracts import Context
    from banger_core.model import LaunchSpec, VmDirs, VmPlan

WARM_WORD = "banger.warm"
"""On its command line, this makes banger's initramfs wait before it looks for its disks, and go on
when it is told to over the port ``banger.helper``:

    guest:  @banger warm 1
    host:   go EPOCH RANDOM
    guest:  @banger woken

EPOCH is the time in seconds, RANDOM what its random numbers begin with, from a good source and as
hexadecimal digits. Everything else that makes a VM one of its own comes with its disks.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmKey:
    """What a saved machine depends on, as two digests: hexadecimal digits, at least 16 each.

    ``machine`` is what it is like: its devices and their order, its memory and processors, its
    kernel. ``tools`` is what it is made with: the initramfs, the VMM, and what it shows of the
    host. One that is made with other tools takes the place of those that are like it.
    """

    machine: str
    tools: str


@runtime_checkable
class WarmDriver(VmmDriver, Protocol):
    """A driver whose VMs can begin as a machine that was saved before it belonged to any of them:
    booted with ``WARM_WORD``, and without anything that is one VM's own.

    Its files (``image``, a directory, 0700) are shared by all VMs that begin so, at the same time
    and whoever they trust: nothing that a VM does may change them, and they may be removed while
    it runs.
    """

    def warm_key(self, plan: VmPlan, dirs: VmDirs, accel: str, cx: Context) -> WarmKey | None:
        """Say which saved machine such a VM could begin as; None: with none. Runs in a worker
        thread, before every start. Raises OSError and BangerError.
        """

    def launch_warm(self, plan: VmPlan, dirs: VmDirs, accel: str, image: Path) -> LaunchSpec:
        """Say how to start the VM as the machine saved in ``image``; pure, as ``launch``.
        ``start`` then returns when the guest has been told who it is, and goes on; it raises
        GuestFailed or IntegrityError when the guest does not, and the VM is started cold.
        """

    async def make_warm(
        self, plan: VmPlan, dirs: VmDirs, accel: str, image: Path, cx: Context
    ) -> None:
        """Save such a machine into the empty directory ``image`` (files only). ``dirs`` has a
        ``runtime`` of its own, a kernel and an initramfs; its disks are not there. In the
        background: slowly is good enough, and in nobody's way. Whatever happens, nothing of the
        VMM is left.
        """
