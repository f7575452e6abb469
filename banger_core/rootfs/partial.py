"""A large file in the making: private, under another name, and gone when anything goes wrong."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from banger_core.store.content import create_private, room_in, sync_directory, sync_file


@contextmanager
def publishing(path: Path) -> Iterator[Path]:
    """Give a new empty file (0600) beside ``path`` that durably takes its name at the end.

    Leaving by an error removes it. A full disk raises NoSpace.
    """
    # The suffix is the one that store.content.sweep clears away after a crash
    temporary = path.with_name(f".{path.name[:60]}.{secrets.token_hex(6)}.partial")
    with room_in(path.parent):
        os.close(create_private(temporary))
        try:
            yield temporary
            sync_file(temporary)
            temporary.rename(path)
        finally:
            temporary.unlink(missing_ok=True)
        sync_directory(path.parent)
