"""Directories and an environment of a test's own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.config.paths import Paths

if TYPE_CHECKING:
    import pytest

_PREFIX = "bgr-"


@contextmanager
def isolated_paths(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Paths]:
    """Point the environment to directories below ``root``, and sockets to a short one.

    No ``BANGER_*`` or ``XDG_*`` variable of the developer stays, and ``HOME`` is empty. The
    directories are made when they are first used.
    """
    # pytest's own directories are too deep for the 107 bytes of a socket's name
    runtime = Path(tempfile.mkdtemp(prefix=_PREFIX, dir="/tmp"))
    for name in [name for name in os.environ if name.startswith(("BANGER_", "XDG_"))]:
        monkeypatch.delenv(name)
    home = root / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    for name in ("STATE", "CACHE", "CONFIG"):
        monkeypatch.setenv(f"BANGER_{name}_DIR", str(root / name.lower()))
    monkeypatch.setenv("BANGER_RUNTIME_DIR", str(runtime))
    try:
        yield Paths.from_environment()
    finally:
        shutil.rmtree(runtime, ignore_errors=True)
