"""What the administrator says about SSH: ``/etc/banger``, believed only when root alone writes it.

``policy.d/*.toml`` are layers of the highest authority::

    precedence = 950                # 900 to 999; 900 when left out
    [ssh]
    agent_forwarding = false
    lock = ["agent_forwarding"]

``trusted_policies`` in ``config.toml`` lists the plugins' policies that get this authority too.
A file that someone else could have written stops everything: a lock must not vanish by accident.
"""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path
from typing import Any

from banger_core.errors import HostNotReady
from banger_core.plan.ssh_policy import Authority, PolicyLayer, patch_of

ADMIN_DIR = Path("/etc/banger")
"""The administrator's configuration."""

_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


def admin_layers(directory: Path = ADMIN_DIR, owner: int = 0) -> list[PolicyLayer]:
    """Return the layers of ``directory/policy.d``; none when there is no such directory.

    Raises HostNotReady when anything there could have been written by another user than
    ``owner`` (a user id), is a symbolic link, or is not what the format asks for.
    """
    policies = directory / "policy.d"
    if not _trusted_dir(directory, owner) or not _trusted_dir(policies, owner):
        return []
    return [_layer(path, owner) for path in sorted(policies.glob("*.toml"))]


def trusted_policies(directory: Path = ADMIN_DIR, owner: int = 0) -> frozenset[str]:
    """Return the names of the SSH policies that the administrator trusts. Raises HostNotReady."""
    path = directory / "config.toml"
    if not _trusted_dir(directory, owner) or not os.path.lexists(path):
        return frozenset()
    names = _table(path, owner).get("trusted_policies", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise _wrong(path, "trusted_policies is a list of names")
    return frozenset(names)


def policy_files(directory: Path = ADMIN_DIR) -> list[Path]:
    """Everything that decides what the administrator says, whether it is there or not."""
    policies = directory / "policy.d"
    return [directory, directory / "config.toml", policies, *sorted(policies.glob("*.toml"))]


def read_trusted(path: Path, owner: int = 0) -> bytes:
    """Read a file that only ``owner`` can have written. Raises HostNotReady."""
    handle = _open(path, _FLAGS)
    with os.fdopen(handle, "rb") as file:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise _untrusted(path, "it is not a regular file")
        _check(path, facts, owner)
        return file.read()


def _trusted_dir(path: Path, owner: int) -> bool:
    """Check a directory; false when there is none."""
    if not os.path.lexists(path):
        return False
    handle = _open(path, _FLAGS | os.O_DIRECTORY)
    try:
        _check(path, os.fstat(handle), owner)
    finally:
        os.close(handle)
    return True


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags)
    except OSError as problem:
        what = "symbolic links are refused" if path.is_symlink() else problem.strerror
        raise _untrusted(path, what) from None


def _check(path: Path, facts: os.stat_result, owner: int) -> None:
    if facts.st_uid != owner:
        raise _untrusted(path, f"it belongs to uid {facts.st_uid}, not to uid {owner}")
    if facts.st_mode & 0o022:
        raise _untrusted(path, f"others can write to it (mode {stat.S_IMODE(facts.st_mode):04o})")


def _layer(path: Path, owner: int) -> PolicyLayer:
    table = _table(path, owner)
    precedence, ssh = table.get("precedence", 900), table.get("ssh", {})
    low, high = Authority.ADMIN.value
    if not isinstance(precedence, int) or not low <= precedence <= high:
        raise _wrong(path, f"precedence is a whole number from {low} to {high}")
    if not isinstance(ssh, dict):
        raise _wrong(path, "[ssh] is a table")
    return PolicyLayer(
        origin=str(path),
        authority=Authority.ADMIN,
        patch=patch_of(ssh, str(path)),
        precedence=precedence,
    )


def _table(path: Path, owner: int) -> dict[str, Any]:
    try:
        return tomllib.loads(read_trusted(path, owner).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise _wrong(path, str(problem)) from None


def _wrong(path: Path, cause: str) -> HostNotReady:
    return HostNotReady(f"{path} cannot be read as configuration", cause=cause)


def _untrusted(path: Path, cause: str | None) -> HostNotReady:
    return HostNotReady(
        f"{path} cannot be trusted as the administrator's",
        cause=cause or "it cannot be opened",
        hints=[f"sudo chown root:root {path} && sudo chmod go-w {path}"],
    )
