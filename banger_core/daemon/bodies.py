"""What clients may send, checked by pydantic: unknown fields are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from banger_core.kernel.origin import Origin, in_boot, in_directory, with_neighbours
from banger_core.model import VmRequest


class Body(BaseModel):
    """The base of all request bodies."""

    model_config = ConfigDict(extra="forbid")


class CreateVm(Body):
    """Create a VM, and start it when ``start`` is set; with ``dry_run`` only plan it."""

    request: VmRequest = Field(default_factory=VmRequest)
    start: bool = False
    dry_run: bool = False


class StopVm(Body):
    """Stop a VM; ``force`` skips the clean shutdown."""

    force: bool = False
    wait: bool = True


class StartVm(Body):
    """Start a VM; a ``cold`` one boots from the beginning this time."""

    cold: bool = False


class RestartVm(Body):
    """Restart a VM; ``force`` skips the clean shutdown."""

    force: bool = False


class KillVm(Body):
    """End a VM's VMM with a signal."""

    signal: Literal["KILL", "TERM", "INT", "QUIT", "HUP", "ABRT"] = "KILL"


LabelKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,62}$")]
LabelValue = Annotated[str, Field(max_length=4096)]


class SetVm(Body):
    """Change a VM: what is null stays. Sizes in bytes; disks only grow. ``link`` and ``unlink`` are
    names or ids of other VMs. ``labels`` are added or replaced, ``unlabel`` removes.
    """

    vcpu: int | None = Field(default=None, ge=1)
    memory: int | None = Field(default=None, ge=1)
    disk_size: int | None = Field(default=None, ge=1)
    work_disk: int | None = Field(default=None, ge=1)
    nat: bool | None = None
    link: tuple[Annotated[str, Field(max_length=255)], ...] = Field(default=(), max_length=100)
    unlink: tuple[Annotated[str, Field(max_length=255)], ...] = Field(default=(), max_length=100)
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=1000)
    unlabel: tuple[LabelKey, ...] = Field(default=(), max_length=1000)


class MakeSnapshot(Body):
    """Keep a VM as it is now; an empty ``name`` is made up."""

    name: str = Field(default="", max_length=64)


class ForkVm(Body):
    """Copy a VM that runs ``count`` times; ``name`` as in ``engine.fork``."""

    count: int = Field(default=1, ge=1, le=100)
    name: str = Field(default="", max_length=63)


class DeleteSnapshots(Body):
    """Delete snapshots of a VM by their names."""

    names: tuple[Annotated[str, Field(max_length=64)], ...] = Field(min_length=1, max_length=1000)


class ResolveVms(Body):
    """Find VMs by name, id or unique prefix of an id, all at the same moment."""

    references: tuple[Annotated[str, Field(max_length=255)], ...] = Field(max_length=10_000)


class PullImage(Body):
    """Pull an image. ``name`` is what to call it here, ``size`` the virtual size of its disk in
    bytes, ``platform`` (``linux/amd64``) which one of several it is.
    """

    ref: str = Field(min_length=1, max_length=4096)
    name: str | None = None
    kernel: str = ""
    size: int | None = None
    platform: str = Field(default="", max_length=100)


class PruneCache(Body):
    """Prune what image sources keep, down to ``keep`` bytes for each; ``dry_run`` only lists."""

    keep: int = Field(default=0, ge=0)
    dry_run: bool = False


class PruneWarm(Body):
    """Remove the machines that are saved for warm starts; ``dry_run`` only lists them."""

    dry_run: bool = False


class PullKernel(Body):
    """Pull a kernel into the catalogue; ``force`` replaces another version."""

    name: str = Field(min_length=1, max_length=255)
    force: bool = False


def _absolute(path: Path) -> Path:
    if not path.is_absolute() or "\0" in str(path):
        raise ValueError("it is not an absolute path")
    return path


AbsolutePath = Annotated[Path, AfterValidator(_absolute)]


class ImportKernel(Body):
    """Import a kernel as ``name`` from exactly one of a ``directory``, a ``kernel`` image,
    ``boot`` (a release installed in /boot) and ``packages``; ``initrd``, ``modules`` and
    ``config`` go with ``kernel``. ``force`` replaces one of that name, and takes one with which no
    guest comes up.
    """

    name: str = Field(min_length=1, max_length=255)
    directory: AbsolutePath | None = None
    kernel: AbsolutePath | None = None
    boot: str = Field(default="", max_length=255)
    packages: tuple[AbsolutePath, ...] = Field(default=(), max_length=20)
    initrd: AbsolutePath | None = None
    modules: AbsolutePath | None = None
    config: AbsolutePath | None = None
    force: bool = False

    @model_validator(mode="after")
    def _one_origin(self) -> ImportKernel:
        origins = [self.directory, self.kernel, self.boot, self.packages]
        if sum(bool(origin) for origin in origins) != 1:
            raise ValueError("exactly one of directory, kernel, boot and packages is needed")
        if not self.kernel and (self.initrd or self.modules or self.config):
            raise ValueError("initrd, modules and config go with kernel")
        return self

    def origin(self) -> Origin:
        """Find the files. Blocks; raises NotFound and UsageProblem."""
        if self.directory:
            return in_directory(self.directory)
        if self.boot:
            return in_boot(self.boot)
        return with_neighbours(
            Origin(
                kernel=self.kernel,
                initrd=self.initrd,
                modules=self.modules,
                config=self.config,
                packages=self.packages,
            )
        )


class Nothing(Body):
    """An empty body."""
