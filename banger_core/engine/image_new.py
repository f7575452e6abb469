"""An image in the making: announced before anything of it is there, gone when it fails."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.config.paths import secure_dir
from banger_core.errors import Conflict
from banger_core.kernel.collection import collect
from banger_core.kernel.intake import Report
from banger_core.kernel.origin import Origin
from banger_core.model import ImageRecord
from banger_core.plan.names import check_image_name, make_id

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine


@asynccontextmanager
async def new_image(engine: Engine) -> AsyncIterator[tuple[str, Path]]:
    """Give an image id and its new directory. Leaving by an error removes the directory."""
    image_id = make_id()
    directory = engine.paths.images / image_id
    try:
        await engine.effects.make_directory(f"image-{image_id}", "directory", directory)
        yield image_id, directory
    except BaseException:
        await engine.effects.undo(f"image-{image_id}")
        raise


def copy_kernel(image: ImageRecord, into: Path, report: Report) -> None:
    """Copy the kernel of ``image``, wherever it lies, into the new directory ``into``. Blocks."""
    kernel = image.kernel_files
    origin = Origin(
        kernel=kernel.vmlinux,
        initrd=kernel.initrd,
        modules=kernel.modules,
        config=kernel.config,
    )
    collect(origin, secure_dir(into), report)


def check_new_name(engine: Engine, name: str) -> None:
    """Raise UsageProblem for a name that no image can have, Conflict for one that is taken."""
    check_image_name(name)
    if any(image.name == name for image in engine.records.images()):
        raise Conflict(
            f"there is an image named {name} already",
            cause="names are unique",
            hints=["choose another name with --name", f"banger image delete {name}"],
        )
