"""Disks of a VM that take each other's place: new ones are made beside, the old ones are kept until
it is sure that they are not needed.

    vms/<id>/coming/    copies of a snapshot's disks, until they are taken into use
    vms/<id>/before/    the disks that the VM had

Every step can be done again after it was cut short.
"""

from __future__ import annotations

from pathlib import Path

from banger_core.engine.trees import remove_tree
from banger_core.store.content import sync_directory

COMING, BEFORE = "coming", "before"


def swap_in(directory: Path) -> None:
    """Put the coming disks where a VM has its own, which are kept. Blocks. Raises OSError."""
    for new in sorted((directory / COMING).iterdir()):
        (directory / new.name).rename(directory / BEFORE / new.name)
        new.rename(directory / new.name)
    for each in (directory / BEFORE, directory):
        sync_directory(each)


def put_back(directory: Path) -> None:
    """Put the disks back that the VM had; those that came are gone. Blocks."""
    if (directory / BEFORE).is_dir():
        for old in sorted((directory / BEFORE).iterdir()):
            old.rename(directory / old.name)
        sync_directory(directory)
    forget_before(directory)


def forget_before(directory: Path) -> None:
    """Remove the disks that the VM had before, for good. Blocks."""
    for name in (COMING, BEFORE):
        remove_tree(directory / name)
