"""An image in the making: announced before anything of it is there, gone when it fails."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.config.paths import secure_dir
from banger_core.errors import Conflict
from banger_core.kernel.collection import collect
from banger_core.kernel.intake import Report
from banger_core.kernel.origin import Origin
from banger_core.model import HostFiles, ImagePin, ImageRecord, KernelPin
from banger_core.plan.names import check_image_name, make_id
from banger_core.rootfs.build import RootfsFacts

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine


@asynccontextmanager
async def new_image(engine: Engine) -> AsyncIterator[Path]:
    """Give the new directory of an image, named by its id. Leaving by an error removes it."""
    image_id = make_id()
    directory = engine.paths.images / image_id
    try:
        await engine.effects.make_directory(f"image-{image_id}", "directory", directory)
        yield directory
    except BaseException:
        await engine.effects.undo(f"image-{image_id}")
        raise


def record_of(
    directory: Path,
    name: str,
    pin: ImagePin,
    kernel: KernelPin,
    facts: RootfsFacts,
    host: HostFiles | None = None,
) -> ImageRecord:
    """Return the record of the image in ``directory``, made now; the directory has its id."""
    return ImageRecord(
        id=directory.name,
        name=name,
        pin=pin,
        kernel=kernel,
        directory=directory,
        disk_size=facts.size,
        content_size=facts.content_size,
        minimum_size=facts.minimum_size,
        created_at=time.time(),
        host=host,
    )


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
