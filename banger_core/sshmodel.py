"""The vocabulary of SSH, a part of ``model``. Standard library only."""

from __future__ import annotations

from collections.abc import Mapping  # read at run time, where records come back from JSON
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SshSetting:
    """One effective SSH setting, who set it, who locked it, and who lost."""

    value: Any
    origin: str
    locked_by: str = ""
    ignored: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SshTarget:
    """How to reach a VM with OpenSSH: ``argv`` is complete up to the remote command;
    ``origins`` says for each option who set it. ``shell`` is the command line for a login where
    that is to reach the image's own server, else empty. ``stamps`` are of the files that decided:
    path to (mtime in ns, size, inode), None for one that was not there.
    """

    name: str
    vm_id: str
    host: str
    port: int
    user: str
    argv: tuple[str, ...]
    origins: Mapping[str, str] = field(default_factory=dict)
    shell: tuple[str, ...] = ()
    stamps: Mapping[str, tuple[int, int, int] | None] = field(default_factory=dict)
