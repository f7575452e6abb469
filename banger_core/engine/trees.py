"""Directories of ours, removed with everything in them."""

from __future__ import annotations

import shutil
from pathlib import Path

from banger_core.errors import BangerError


def remove_tree(path: Path) -> None:
    """Remove a directory of ours and everything in it. A symbolic link is only unlinked.

    Raises BangerError when something cannot be removed.
    """
    try:
        if path.is_symlink():
            path.unlink()
        elif path.exists():
            shutil.rmtree(path)
    except OSError as problem:
        raise BangerError(
            f"cannot remove {path}", cause=str(problem), hints=[f"ls -la {path}"]
        ) from problem
