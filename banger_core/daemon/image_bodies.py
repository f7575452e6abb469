"""What clients may send to make images, checked by pydantic."""

from __future__ import annotations

from pydantic import Field, model_validator

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
