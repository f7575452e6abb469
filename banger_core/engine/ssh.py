"""SSH to guests with OpenSSH: the policy, the command line, the note, and the daemon's own use.

One command line serves everyone. It reads no configuration but what it says itself, trusts no
host key but the one pinned under the VM's alias, and writes nothing to the user's own files.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.config.paths import Paths, secure_dir
from banger_core.engine.ssh_config import ssh_config_block
from banger_core.engine.ssh_identity import (
    Runner,
    check_key,
    identity,
    identity_path,
    public_key,
)
from banger_core.engine.ssh_image import image_shell, wants_image
from banger_core.engine.ssh_policy import policy, stamps
from banger_core.engine.ssh_ready import wait_for_ssh
from banger_core.errors import UsageProblem
from banger_core.jsonable import to_json
from banger_core.model import SshSetting, SshTarget, VmRecord
from banger_core.plan.ssh_keys import KEYS
from banger_core.plan.ssh_policy import CORE
from banger_core.store.content import write_atomic

if TYPE_CHECKING:
    from banger_core.config.settings import Settings

FIXED = "fixed"
"""The origin of options that no policy can change."""

PATH_OPTIONS = frozenset({"CertificateFile"})
"""Options of policies whose values are paths, and are quoted as such."""

CONTROL_PATH_MAX = 90
"""Longest control socket path in bytes: ssh binds it with 17 more, of at most 107 (unix(7))."""


def ssh_target(record: VmRecord, paths: Paths, settings: Settings) -> SshTarget:
    """Return how to reach a VM: arguments for OpenSSH 8.7 or newer, up to the remote command.

    More options may stand directly after ``ssh``, where they win. Raises UsageProblem when a
    path cannot be given to ssh.
    """
    host, port = record.plan.net.ssh
    user = _setting(record, "user")
    options = dict(_options(record, paths, identity_path(paths, settings)))
    words = [word for name, (value, _) in options.items() for word in ("-o", f"{name}={value}")]
    origins = {name: origin for name, (_, origin) in options.items()}
    target = SshTarget(
        name=record.name,
        vm_id=record.id,
        host=host,
        port=port,
        user=user.value,
        argv=("ssh", "-F", "none", *words, "-p", str(port), f"{user.value}@{host}"),
        origins={"User": user.origin, **origins},
        stamps=stamps(paths),
    )
    return (
        replace(target, shell=image_shell(target, record))
        if wants_image(record.plan.ssh)
        else target
    )


def host_alias(name: str) -> str:
    """The name under which the host key of the VM ``name`` is pinned."""
    return f"{name}.vm"


def ssh_path(path: Path) -> str:
    r"""Quote a path for an option of ssh: its parser takes ``"`` and ``\``, then expands ``%``.

    Raises UsageProblem for ``${``, which ssh would always take for a variable.
    """
    text = str(path)
    if "${" in text:
        raise UsageProblem(
            f"ssh cannot use the path {text}",
            cause="it takes '${' for the start of a variable, and knows no way to say otherwise",
            hints=["set BANGER_STATE_DIR and BANGER_RUNTIME_DIR to other directories"],
        )
    text = text.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def write_note(paths: Paths, target: SshTarget) -> None:
    """Write the note from which ``banger ssh NAME`` reads how to reach the VM, and the block of
    configuration from which plain ssh does (both 0600).
    """
    import json

    note = paths.note(target.name)
    secure_dir(note.parent)
    write_atomic(paths.ssh_block(target.name), ssh_config_block(target))
    write_atomic(note, json.dumps(to_json(target), indent=1) + "\n")


def remove_note(paths: Paths, name: str) -> None:
    """Remove what ``write_note`` wrote for the VM ``name``. Idempotent."""
    paths.note(name).unlink(missing_ok=True)
    paths.ssh_block(name).unlink(missing_ok=True)


async def run_in_guest(target: SshTarget, command: str, run: Runner, timeout: float) -> bytes:
    """Run a command in the guest, on a connection of its own, and return its stdout.

    ``timeout`` is in seconds, for everything. Never asks anyone for anything. Raises
    BangerError when the guest cannot be reached or the command fails.
    """
    seconds = max(1, int(timeout))
    options = ("-o", "BatchMode=yes", "-o", "ControlPath=none", "-o", f"ConnectTimeout={seconds}")
    return await run(["ssh", "-T", *options, *target.argv[1:], command], timeout=timeout)


def control_path(target: SshTarget) -> str:
    """Return the socket of the shared connection that ``target`` names; "" when it has none."""
    found = [word for word in target.argv if word.startswith("ControlPath=")]
    if not found or found[0] == "ControlPath=none":
        return ""
    text = found[0].removeprefix("ControlPath=")[1:-1]
    return text.replace('\\"', '"').replace("\\\\", "\\").replace("%%", "%")


def _setting(record: VmRecord, name: str) -> SshSetting:
    """A VM's setting; banger's default for one that is newer than the VM."""
    default = SshSetting(value=KEYS[name].default, origin=CORE)
    return record.plan.ssh.get(name, default)


def _options(record: VmRecord, paths: Paths, key: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield each option's name, value and origin."""
    fixed = {
        "IdentityFile": ssh_path(key),
        "IdentitiesOnly": "yes",
        "PreferredAuthentications": "publickey",
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": ssh_path(paths.known_hosts),
        "GlobalKnownHostsFile": "none",
        "HostKeyAlias": host_alias(record.name),
        "CheckHostIP": "no",
        "UpdateHostKeys": "no",
        "VerifyHostKeyDNS": "no",
        "ForwardX11": "no",
        # Failures are shown, chatter is not: stderr belongs to the guest's program
        "LogLevel": "ERROR",
    }
    for name, value in fixed.items():
        yield name, (value, FIXED)
    for policy_key in KEYS.values():
        setting = _setting(record, policy_key.name)
        if policy_key.option and (text := policy_key.spell(setting.value)):
            if policy_key.option in PATH_OPTIONS:
                text = ssh_path(Path(text))
            yield policy_key.option, (text, setting.origin)
    yield from _multiplexing(record, paths)


def _multiplexing(record: VmRecord, paths: Paths) -> Iterator[tuple[str, tuple[str, str]]]:
    """Commands use the daemon's connection when there is one, and never offer their own."""
    setting = _setting(record, "multiplex")
    socket = paths.vm_runtime(record.id) / "mux"
    yield "ControlMaster", ("no", FIXED)
    if setting.value and _setting(record, "idle_limit").value:
        # The guest counts by connection: one that is shared is idle only when all are
        yield "ControlPath", ("none", "an idle limit holds for each connection by itself")
    elif setting.value and _setting(record, "agent_forwarding").value:
        # What shares a connection shares the agent of whoever opened it: the daemon's
        yield "ControlPath", ("none", "a shared connection cannot forward your agent")
    elif not setting.value:
        yield "ControlPath", ("none", setting.origin)
    elif len(os.fsencode(socket)) > CONTROL_PATH_MAX:
        yield "ControlPath", ("none", "the runtime directory's path is too long for a socket")
    else:
        yield "ControlPath", (ssh_path(socket), setting.origin)


__all__ = [
    "check_key",
    "control_path",
    "host_alias",
    "identity",
    "identity_path",
    "policy",
    "public_key",
    "remove_note",
    "run_in_guest",
    "ssh_path",
    "ssh_target",
    "wait_for_ssh",
    "write_note",
]
