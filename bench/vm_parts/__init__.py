"""A machine to measure: one that is named, or one that is made for it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from banger_core.client.notes import read_note

BANGER = str(Path(sys.executable).with_name("banger"))


@contextmanager
def machine(name: str | None) -> Iterator[tuple[str, list[str]]]:
    """Yield the name of a machine that runs and the command line of ssh that reaches it. Without
    ``name`` one of the default image is made, and deleted in the end.
    """
    made = None if name else f"bench-{os.getpid()}"
    if made:
        subprocess.run([BANGER, "vm", "run", "-d", "--name", made], check=True, stdout=2)
    try:
        argv = read_note(name or made or "")
        if argv is None:
            raise SystemExit(f"{name} does not run: banger vm start {name}")
        yield name or made or "", argv
    finally:
        if made:
            subprocess.run([BANGER, "vm", "delete", "--force", made], check=False, stdout=2)
