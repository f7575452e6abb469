"""The SSH server that an image brings: reached by people when the policy says ``server = "image"``.

Its host keys are looked at once, when it first answers, and kept in the VM's record. From then on
only they count: a server that shows another key is refused by ssh. Banger itself always uses the
guest runtime's server, whose key was made before the VM booted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from banger_core.engine.ssh_identity import Runner
from banger_core.engine.ssh_ready import wait_for_ssh
from banger_core.errors import GuestFailed
from banger_core.model import Publish, SshSetting, SshTarget, VmRecord, VmRequest

IMAGE_PORT = 22
"""Where an image's own server listens in the guest."""

HOST_PORT = 2022
"""Where it is published on the VM's address, unless the user publishes port 22 elsewhere."""

LOOK_DEADLINE = 60.0
"""Longest wait for the image's server after the guest runtime's has answered (seconds)."""

KEYS_MAX = 8
"""Most host keys of one server that are taken; OpenSSH makes three."""

SCAN_MAX = 1 << 16
"""Longest answer of ssh-keyscan that is believed (bytes)."""

_PATIENCE = 10.0
"""An sshd loads itself anew for each connection, which takes seconds in a busy emulated guest."""

_KEY = re.compile(r"[a-z][A-Za-z0-9@.-]{0,63} [A-Za-z0-9+/]{16,4096}={0,3}")


def wants_image(ssh: Mapping[str, SshSetting]) -> bool:
    """Say whether logins are to reach the image's own server."""
    return "server" in ssh and ssh["server"].value == "image"


def with_image_port(request: VmRequest, ssh: Mapping[str, SshSetting]) -> VmRequest:
    """Return the request with the image's server published, where the policy wants it reached."""
    led = any(each.guest_port == IMAGE_PORT for each in request.publish)
    if led or not wants_image(ssh):
        return request
    port = Publish(host_port=HOST_PORT, guest_port=IMAGE_PORT)
    return replace(request, publish=(*request.publish, port))


def image_alias(name: str) -> str:
    """The name under which the host keys of the image's server of the VM ``name`` are pinned."""
    return f"{name}.image.vm"


def image_server(record: VmRecord) -> tuple[str, int]:
    """Address and port on the host that lead to the image's server.

    Raises GuestFailed when none do: the VM is older than the policy that asks for it.
    """
    net = record.plan.net
    for forward in net.forwards:
        if forward.guest_port == IMAGE_PORT and forward.protocol == "tcp":
            return forward.host_address, forward.host_port
    if net.kind == "tap" and net.guest_address:
        return net.guest_address.partition("/")[0], IMAGE_PORT
    raise GuestFailed(
        f"no port leads to the SSH server of {record.name}'s image",
        cause="the machine was made before the SSH policy said server = 'image'",
        hints=_choose_other(),
    )


def image_shell(target: SshTarget, record: VmRecord) -> tuple[str, ...]:
    """Return the command line for logins to the image's server: ``target``'s, but for the host,
    the port, the name of its keys and the shared connection, which leads to banger's server.

    Where no port leads to the image's server, whatever answers is refused for its key.
    """
    try:
        host, port = image_server(record)
    except GuestFailed:
        host, port = target.host, IMAGE_PORT
    words = list(target.argv)
    words[-1] = f"{target.user}@{host}"
    words[words.index("-p") + 1] = str(port)
    changed = {"HostKeyAlias": image_alias(record.name), "ControlPath": "none"}
    for at, word in enumerate(words):
        name = word.partition("=")[0]
        if name in changed:
            words[at] = f"{name}={changed[name]}"
    return tuple(words)


async def look_at_image(
    record: VmRecord, run: Runner, alive: Callable[[], bool], deadline: float = LOOK_DEADLINE
) -> VmRecord:
    """Wait until the image's server answers, and return the record with its host keys. What is
    known stays as it is: keys are looked at only once.

    Raises GuestFailed when no server answers within ``deadline`` seconds, or none that shows keys.
    """
    host, port = image_server(record)
    try:
        await wait_for_ssh(host, port, deadline, alive, name=record.name, longest=_PATIENCE)
    except GuestFailed as problem:
        raise _no_server(record.name, problem.cause) from None
    if record.image_host_keys:
        return record
    said = await run(["ssh-keyscan", "-T", "10", "-p", str(port), host], timeout=30.0)
    keys = read_scan(said)
    if not keys:
        raise _no_server(record.name, "it answers, and shows no host key")
    return replace(record, image_host_keys=keys)


def read_scan(said: bytes) -> tuple[str, ...]:
    """Return the keys of ssh-keyscan's answer, ``TYPE BASE64`` each: at most ``KEYS_MAX``, each
    once, sorted. Lines that hold none are left out; an answer over ``SCAN_MAX`` has no keys.
    """
    if len(said) > SCAN_MAX:
        return ()
    lines = (line.partition(" ") for line in said.decode("ascii", "replace").splitlines())
    keys = {rest for host, _, rest in lines if not host.startswith("#") and _KEY.fullmatch(rest)}
    return tuple(sorted(keys)[:KEYS_MAX])


def _no_server(name: str, cause: str) -> GuestFailed:
    return GuestFailed(
        f"the SSH server of {name}'s image did not answer",
        cause=cause,
        hints=[f"banger vm logs {name}", f"banger vm exec {name} -- ps", *_choose_other()],
    )


def _choose_other() -> list[str]:
    return ['set server = "banger" under [ssh] of the configuration: banger brings a server along']
