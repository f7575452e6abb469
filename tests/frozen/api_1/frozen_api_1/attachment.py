"""A network attachment: a file for each machine that can be reached."""

from __future__ import annotations

from banger_core.api import Context, VmRecord, secure_dir, write_atomic


class FrozenRegister:
    """Keeps ``machines/NAME`` in the plugin's state."""

    async def attach(self, vm: VmRecord, cx: Context) -> None:
        """Write down how the machine is reached."""
        host, port = vm.plan.net.ssh
        write_atomic(secure_dir(cx.state_dir / "machines") / vm.name, f"{host} {port}\n")

    async def detach(self, vm: VmRecord, cx: Context) -> None:
        """Forget it."""
        (cx.state_dir / "machines" / vm.name).unlink(missing_ok=True)
