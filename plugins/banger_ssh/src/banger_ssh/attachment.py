"""Pins a VM's host key while the VM can be reached."""

from __future__ import annotations

from banger_core.api import Context, HostileInput, HostPin, VmRecord, in_thread
from banger_ssh.known_hosts import certify, forget, host_name, pin, uncertify
from banger_ssh.pinfile import PinFile
from banger_ssh.pins import COMMENT, forget_host, pins_in


class KnownHosts:
    """What stands for a VM while it can be reached: the key that was made before it booted, the
    keys that its image's own server showed at first, and the authorities of the policy.
    """

    async def attach(self, vm: VmRecord, cx: Context) -> None:
        """Pin the VM's keys; whatever was pinned for its names or address before is forgotten."""
        try:
            await in_thread(PinFile(cx.ssh_dir).update, lambda data: _with_vm(data, vm))
        except ValueError as problem:
            raise HostileInput(
                f"the host key of {vm.name} cannot be pinned", cause=str(problem)
            ) from None

    async def detach(self, vm: VmRecord, cx: Context) -> None:
        """Forget the VM's names and address."""
        await in_thread(PinFile(cx.ssh_dir).update, lambda data: _without_vm(data, vm))

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


def _with_vm(data: bytes, vm: VmRecord) -> bytes:
    data, comment = _without_vm(data, vm), COMMENT + vm.id.encode()
    if vm.host_key:
        data = pin(data, names_of(vm), _key(vm.host_key), comment)
    if vm.image_host_keys:
        first, *more = map(_key, vm.image_host_keys)
        data = pin(data, [image_name_of(vm)], first, comment, *more)
    setting = vm.plan.ssh.get("host_authorities")
    authorities = map(_key, setting.value if setting else ())
    return certify(data, [*names_of(vm), image_name_of(vm)], authorities, comment)


def _without_vm(data: bytes, vm: VmRecord) -> bytes:
    names = [*names_of(vm), image_name_of(vm)]
    return uncertify(forget(data, names), names, COMMENT)


def _key(line: str) -> bytes:
    return " ".join(line.split()[:2]).encode()


def image_name_of(vm: VmRecord) -> bytes:
    """What known_hosts calls the server that the VM's image brings."""
    return f"{vm.name}.image.vm".encode()


def names_of(vm: VmRecord) -> list[bytes]:
    """What known_hosts calls the VM: the alias that every connection asks for, and the address."""
    return [f"{vm.name}.vm".encode(), host_name(*vm.plan.net.ssh)]
