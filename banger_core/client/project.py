"""The project in whose folder a command is given: ``.banger.toml``.

::

    [ssh]
    ciphers = "aes256-gcm@openssh.com"

It comes with whatever was cloned, so what it says can only tighten; the daemon sees to that.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from banger_core.errors import UsageProblem
from banger_core.model import ProjectPolicy

NAME = ".banger.toml"
SIZE_MAX = 1 << 16
"""Most bytes of a project's file."""


def current_project() -> ProjectPolicy | None:
    """``project_policy`` of the working directory, None where there is none any more."""
    try:
        return project_policy(Path.cwd(), Path.home())
    except (FileNotFoundError, RuntimeError):
        return None


def project_policy(start: Path, home: Path) -> ProjectPolicy | None:
    """Return what the project around the directory ``start`` wants of SSH, None when no project
    says anything.

    Its file is looked for in ``start`` and above, up to the root of the git work tree that it is
    in; never in ``home`` or above it, where it would be nobody's project. Raises UsageProblem,
    naming the file, for what cannot be read.
    """
    for directory in _places(start, home):
        path = directory / NAME
        if os.path.lexists(path):
            return _read(path)
    return None


def _places(start: Path, home: Path) -> list[Path]:
    places = []
    for directory in (start, *start.parents):
        if directory == home or directory in home.parents:
            break
        places.append(directory)
        if (directory / ".git").exists():
            return places
    # Outside of a work tree nothing says where a project ends: only the directory itself counts
    return places[:1]


def _read(path: Path) -> ProjectPolicy | None:
    import tomllib

    try:
        # Not blocking: a FIFO must not hold anybody up
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise _unreadable(path, "it is no regular file")
            data = file.read(SIZE_MAX + 1)
    except OSError as problem:
        raise _unreadable(path, problem.strerror or str(problem)) from None
    if len(data) > SIZE_MAX:
        raise _unreadable(path, f"it has more than {SIZE_MAX} bytes")
    try:
        table = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as problem:
        raise _unreadable(path, str(problem)) from None
    return _policy(path, table)


def _policy(path: Path, table: dict[str, Any]) -> ProjectPolicy | None:
    ssh = table.get("ssh", {})
    if not isinstance(ssh, dict) or set(table) - {"ssh"}:
        raise _unreadable(path, "it holds the table [ssh] and nothing else")
    if not all(_plain(value) for value in ssh.values()):
        raise _unreadable(path, "its values are texts, numbers, true, false, and lists of texts")
    return ProjectPolicy(path=str(path), table=ssh) if ssh else None


def _plain(value: object) -> bool:
    if isinstance(value, list):
        return all(isinstance(each, str) for each in value)
    return isinstance(value, str | int | bool)


def _unreadable(path: Path, cause: str) -> UsageProblem:
    return UsageProblem(
        f"{path} cannot be read as the project's settings",
        cause=cause,
        hints=["go to another folder, or mend the file"],
    )
