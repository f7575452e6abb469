"""Pins a VM's host key while the VM can be reached."""

from __future__ import annotations

from banger_core.api import Context, HostileInput, HostPin, VmRecord, in_thread
from banger_ssh.known_hosts import forget, host_name, pin
from banger_ssh.pinfile import PinFile
from banger_ssh.pins import COMMENT, forget_host, pins_in


class KnownHosts:
    """One line per VM: its alias and its address, with the key that was made before it booted."""

    async def attach(self, vm: VmRecord, cx: Context) -> None:
        """Pin the VM's key; whatever was pinned for its name or address before is forgotten."""
        if not vm.host_key:
            return
        pins, names = PinFile(cx.ssh_dir), names_of(vm)
        key, comment = " ".join(vm.host_key.split()[:2]).encode(), COMMENT + vm.id.encode()
        try:
            await in_thread(pins.update, lambda data: pin(data, names, key, comment))
        except ValueError as problem:
            raise HostileInput(
                f"the host key of {vm.name} cannot be pinned", cause=str(problem)
            ) from None

    async def detach(self, vm: VmRecord, cx: Context) -> None:
        """Forget the VM's name and address."""
        names = names_of(vm)
        await in_thread(PinFile(cx.ssh_dir).update, lambda data: forget(data, names))

    async def list_pins(self, cx: Context) -> list[HostPin]:
        """List what is pinned."""
        return pins_in(await in_thread(PinFile(cx.ssh_dir).read))

    async def forget(self, name: str, cx: Context) -> list[HostPin]:
        """Remove the pins of ``name``, and return them."""
        gone: list[HostPin] = []

        def change(data: bytes) -> bytes:
            kept, found = forget_host(data, name.encode(errors="backslashreplace"))
            gone.extend(found)
            return kept

        await in_thread(PinFile(cx.ssh_dir).update, change)
        return gone


def names_of(vm: VmRecord) -> list[bytes]:
    """What known_hosts calls the VM: the alias that every connection asks for, and the address."""
    return [f"{vm.name}.vm".encode(), host_name(*vm.plan.net.ssh)]
