"""Root file systems as users have them: made by others, not by banger."""

from __future__ import annotations

from pathlib import Path

from banger_core.rootfs.ext4.tools import run_tool


def make_ext4(path: Path, size: str = "64M", *options: str, content: Path | None = None) -> Path:
    """Make ``path`` a clean ext4 with what is in the directory ``content``, and return it."""
    path.touch(0o600)
    tree = ["-d", str(content)] if content else []
    run_tool(["mke2fs", "-q", "-F", "-t", "ext4", *options, *tree, str(path), size])
    return path
