"""What clients may send to make images, checked by pydantic."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from banger_core.daemon.bodies import AbsolutePath, Body
from banger_core.engine.image_register import Registration


class RegisterImage(Body):
    """Register files of the host as the image ``name``: a root file system, and either a
    ``kernel`` (with its ``initrd`` and ``modules``) or the name of one, ``kernel_ref``.
    """

    name: str = Field(min_length=1, max_length=255)
    rootfs: AbsolutePath
    kernel: AbsolutePath | None = None
    initrd: AbsolutePath | None = None
    modules: AbsolutePath | None = None
    kernel_ref: str = Field(default="", max_length=255)

    @model_validator(mode="after")
    def _one_kernel(self) -> RegisterImage:
        if bool(self.kernel) == bool(self.kernel_ref):
            raise ValueError("exactly one of kernel and kernel_ref is needed")
        if not self.kernel and (self.initrd or self.modules):
            raise ValueError("initrd and modules go with kernel")
        return self

    def registration(self) -> Registration:
        """What the engine is asked for."""
        return Registration(**dict(self))


class ExportImage(Body):
    """Write an image to ``file`` as a bundle; ``force`` replaces what is there."""

    file: AbsolutePath
    force: bool = False


def _place(text: str) -> str:
    if not text.startswith("/") and "://" not in text:
        raise ValueError("it is neither an absolute path nor a URL")
    if "\0" in text:
        raise ValueError("it has a NUL byte")
    return text


class ImportImage(Body):
    """Make an image of a bundle: ``source`` is an absolute path or a URL, ``sha256`` (in
    hexadecimal) what the file must have, ``name`` what to call it instead of its own name.
    """

    source: Annotated[str, Field(min_length=1, max_length=4096), AfterValidator(_place)]
    sha256: str = Field(default="", pattern=r"^([0-9a-f]{64})?$")
    name: str = Field(default="", max_length=255)
