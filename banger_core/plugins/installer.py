"""The environment that banger runs in, and who installs into it."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from banger_core.errors import HostNotReady


def installer() -> list[str]:
    """Return the command that installs and removes distributions here: pip, or where there is none
    (as in environments that uv makes) uv. What it does, the caller adds.
    """
    if importlib.util.find_spec("pip") is not None:
        return [_python(), "-m", "pip"]
    return ["uv", "pip"]


def install_words(packages: Sequence[str], options: Sequence[str] = ()) -> list[str]:
    """Return the command that installs ``packages`` into this environment."""
    return [*installer(), "install", *_here(), *options, *packages]


def uninstall_words(packages: Sequence[str]) -> list[str]:
    """Return the command that removes ``packages`` from this environment, without asking."""
    sure = [] if installer()[0] == "uv" else ["--yes"]
    return [*installer(), "uninstall", *_here(), *sure, *packages]


def check_environment() -> None:
    """Raise HostNotReady when nothing can be installed here, with a way out."""
    program = installer()[0]
    if program == "uv" and shutil.which(program) is None:
        raise HostNotReady(
            f"nothing can be installed into {sys.prefix}",
            cause="this environment has no pip, and uv is not on PATH",
            hints=[f"{_python()} -m ensurepip"],
        )
    marker = Path(sysconfig.get_path("stdlib")) / "EXTERNALLY-MANAGED"
    if sys.prefix == sys.base_prefix and marker.exists():
        raise HostNotReady(
            f"nothing may be installed into {sys.prefix}",
            cause="the system's package manager keeps it (PEP 668)",
            hints=["python3 -m venv ~/banger && ~/banger/bin/pip install banger"],
        )


def _here() -> list[str]:
    return ["--python", _python()] if installer()[0] == "uv" else []


def _python() -> str:
    return sys.executable or "python3"
