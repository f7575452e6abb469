"""Reading the configuration file: is it ours, is it TOML."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

from banger_core.errors import UsageProblem

if TYPE_CHECKING:
    from pathlib import Path


def read_config(file: Path) -> dict[str, Any]:
    """Return the content of ``file``; a missing one is empty.

    Raises UsageProblem when others could have written it, or when it is not TOML in UTF-8.
    """
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        return {}
    except OSError as problem:
        raise UsageProblem(
            f"{file} cannot be read", cause=problem.strerror or "", hints=[f"ls -l {file}"]
        ) from problem
    with os.fdopen(handle, "rb") as stream:
        _check_owner(file, os.fstat(stream.fileno()))
        content = stream.read()
    import tomllib

    try:
        return tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as problem:
        raise UsageProblem(
            f"{file} is not valid TOML", cause=str(problem), hints=[f"edit {file}"]
        ) from problem


def disabled_plugins(file: Path, config: dict[str, Any]) -> list[str]:
    """Return ``plugins.disabled`` of a configuration. Raises UsageProblem."""
    section = config.get("plugins", {})
    names = section.get("disabled", []) if isinstance(section, dict) else None
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return names
    raise UsageProblem(
        f"{file}: plugins.disabled is not a list of plugin names",
        hints=['write it as: [plugins] disabled = ["name"]'],
    )


def _check_owner(file: Path, facts: os.stat_result) -> None:
    if not stat.S_ISREG(facts.st_mode):
        raise UsageProblem(
            f"{file} is not a regular file",
            cause="the configuration decides what code runs",
            hints=[f"ls -l {file}"],
        )
    if facts.st_uid not in (0, os.geteuid()):
        raise UsageProblem(
            f"{file} belongs to another user",
            cause=f"owner is uid {facts.st_uid}, this is uid {os.geteuid()}",
            hints=[f"ls -l {file}"],
        )
    # Where every user has a group of their own, that group may write: nobody else is in it
    shared = facts.st_mode & 0o020 and facts.st_gid != os.getegid()
    if facts.st_mode & 0o002 or shared:
        raise UsageProblem(
            f"{file} can be written by other users",
            cause=f"its mode is {stat.S_IMODE(facts.st_mode):04o}; it decides what code runs",
            hints=[f"chmod go-w {file}"],
        )
