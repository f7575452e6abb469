"""What clients may send to make images, checked by pydantic."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from banger_core.daemon.bodies import AbsolutePath, Body
from banger_core.engine.image_build import Build
from banger_core.engine.image_register import Registration
from banger_core.guest.packagesets import LISTS_MAX, named_set, read_list
from banger_core.kernel.intake import read_file

SCRIPT_MAX = 1 << 20
"""Most bytes of a script."""


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


class BuildImage(Body):
    """Build the image ``name`` of the image ``base``: by exactly one of a ``script``, a file with
    a list of ``packages`` and one of banger's own lists, ``package_set``. Sizes in bytes.
    """

    base: str = Field(min_length=1, max_length=4096)
    name: str = Field(min_length=1, max_length=255)
    script: AbsolutePath | None = None
    packages: AbsolutePath | None = None
    package_set: str = Field(default="", max_length=64)
    vcpu: int | None = None
    memory: int | None = None
    disk_size: int | None = None

    @model_validator(mode="after")
    def _one_way(self) -> BuildImage:
        if sum(map(bool, (self.script, self.packages, self.package_set))) != 1:
            raise ValueError("exactly one of script, packages and package_set is needed")
        return self

    def build(self) -> Build:
        """What the engine is asked for. Blocks; raises for files that cannot be used."""
        script, packages = b"", None
        if self.script:
            script = read_file(self.script, SCRIPT_MAX, follow=True)
        elif self.packages:
            data = read_file(self.packages, LISTS_MAX, follow=True)
            packages = read_list(self.packages.name, data)
        else:
            packages = named_set(self.package_set)
        return Build(
            base=self.base,
            name=self.name,
            script=script,
            packages=packages,
            vcpu=self.vcpu,
            memory=self.memory,
            disk_size=self.disk_size,
        )


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
