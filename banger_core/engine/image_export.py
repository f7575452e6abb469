"""An image as one file: written beside its place, and there whole or not at all."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.bundle.pack import plan_bundle, write_bundle
from banger_core.engine.failpoints import afailpoint, register
from banger_core.engine.operations import Operation, in_thread
from banger_core.errors import Conflict, HostNotReady, UsageProblem
from banger_core.plan.limits import check_space
from banger_core.plan.names import make_id
from banger_core.plan.registered import check_files
from banger_core.store.content import room_in, sync_directory

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine

AFTER_WRITE = register("export.after_write", "a bundle is written, under another name")
AFTER_RENAME = register("export.after_rename", "a bundle is in its place, and not said to be")

ENDINGS = {".tar.zst": True, ".tzst": True, ".tar": False}
"""How a bundle's file may end, and whether that means packed."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A bundle that was written: its file, its size in bytes and its SHA-256 (hexadecimal)."""

    file: Path
    size: int
    sha256: str


async def export_image(
    engine: Engine, ref: str, target: Path, operation: Operation, *, force: bool = False
) -> Exported:
    """Write the image ``ref`` to ``target`` as a bundle.

    Raises NotFound for the image, UsageProblem and HostNotReady for a place where it cannot be,
    Conflict when something is there and ``force`` is false, and NoSpace.
    """
    packed = _check_target(target, force=force)
    image_id = engine.images.find(ref).id
    async with engine.images.changing(image_id):
        image = engine.records.image(image_id)
        check_files(image)
        operation.step(f"reading {image.name}")
        packing = await in_thread(operation, lambda: plan_bundle(image, operation.progress))
        if not packed:
            check_space(target.parent, packing.manifest.space, f"the bundle {target.name}")
        owner = f"export-{make_id()}"
        partial = target.with_name(f".{target.name[:60]}.{owner}.partial")
        try:
            sha256 = await engine.effects.do(
                owner,
                "file",
                str(partial),
                lambda: in_thread(
                    operation,
                    lambda: write_bundle(
                        packing, partial, packed=packed, report=operation.progress
                    ),
                ),
            )
            await afailpoint(AFTER_WRITE)
            size = partial.stat().st_size
            _check_target(target, force=force)
            with room_in(target.parent):
                partial.rename(target)
                sync_directory(target.parent)
            await afailpoint(AFTER_RENAME)
        finally:
            await engine.effects.undo(owner)
    return Exported(target, size, sha256)


def _check_target(target: Path, *, force: bool) -> bool:
    """Check where a bundle is to be written; return whether it is to be packed."""
    packed = next((ENDINGS[end] for end in ENDINGS if target.name.endswith(end)), None)
    if packed is None:
        raise UsageProblem(
            f"{target.name} does not say what it is",
            cause="a bundle ends in .tar.zst, or in .tar when it is not to be packed",
            hints=[f"{target}.tar.zst"],
        )
    parent = target.parent
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        cause = "you may not write there" if parent.is_dir() else "there is no such directory"
        raise HostNotReady(f"{target} cannot be written", cause=cause, hints=[f"ls -ld {parent}"])
    if target.is_dir() or (target.exists() and not force):
        raise Conflict(
            f"{target} is there already",
            cause="it is a directory" if target.is_dir() else "nothing is overwritten unasked",
            hints=["choose another file", *([] if target.is_dir() else ["--force replaces it"])],
        )
    return packed
