"""The manifest of a bundle: what is in it, and what each file must be (docs/reference/bundle.md).

A manifest comes from anywhere: whatever is not exactly as written down here is refused.
"""

from __future__ import annotations

import json
import re
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from banger_core.errors import HostileInput
from banger_core.kernel.configuration import CONFIGURATION_MAX
from banger_core.kernel.intake import INITRD_MAX, MODULE_FILES_MAX, MODULES_MAX, is_wanted
from banger_core.kernel.vmlinux import VMLINUX_MAX
from banger_core.model import ImageConfig
from banger_core.plan.limits import DISK_CEILING

FORMAT = "banger-image"
VERSION = 1
MANIFEST = "manifest.json"
MANIFEST_MAX = 32 << 20
"""Most bytes of a manifest."""

ROOTFS = "rootfs.ext4"
VMLINUX = "kernel/vmlinux"
INITRD = "kernel/initrd.img"
CONFIG = "kernel/config"
MODULES = "kernel/modules/"

_LIMITS = {
    ROOTFS: DISK_CEILING,
    VMLINUX: VMLINUX_MAX,
    INITRD: INITRD_MAX,
    CONFIG: CONFIGURATION_MAX,
}
_COMPONENT = re.compile(r"[A-Za-z0-9_+@,=-][A-Za-z0-9_.+@,=-]{0,127}")

Text = Annotated[str, StringConstraints(max_length=4096, pattern=r"^[^\x00-\x1f\x7f]*$")]
Size = Annotated[int, Field(ge=0, le=DISK_CEILING)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class BundledFile(_Strict):
    """One file: its place in the bundle, its ``size`` in bytes, and its digest.

    Of a ``sparse`` file only ``stored`` bytes are in the bundle; see ``parts`` for its digest.
    """

    path: Text
    size: Size
    stored: Size
    sparse: bool = False
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class BundledKernel(_Strict):
    """What the kernel was called where the bundle was made."""

    name: Text
    version: Text
    distro: Text = ""
    source: Text = ""


class BundledConfig(_Strict):
    """How the image wants its programs run; as ``model.ImageConfig``."""

    env: list[str] = Field(default=[], max_length=10_000)
    working_dir: str = ""
    user: str = ""
    entrypoint: list[str] = Field(default=[], max_length=10_000)
    cmd: list[str] = Field(default=[], max_length=10_000)
    labels: dict[str, str] = Field(default={}, max_length=10_000)

    def config(self) -> ImageConfig:
        """The same as the rest of banger knows it."""
        return ImageConfig(
            env=tuple(self.env),
            working_dir=self.working_dir,
            user=self.user,
            entrypoint=tuple(self.entrypoint),
            cmd=tuple(self.cmd),
            labels=self.labels,
        )


class Manifest(_Strict):
    """What is in a bundle, in the order of its members."""

    format: Literal["banger-image"]
    version: Literal[1]
    name: Text
    architecture: Literal["amd64", "arm64"]
    origin: Text = ""
    config: BundledConfig = BundledConfig()
    kernel: BundledKernel
    files: list[BundledFile] = Field(min_length=2, max_length=MODULE_FILES_MAX + 8)

    @model_validator(mode="after")
    def _whole(self) -> Manifest:
        names = [file.path for file in self.files]
        if len(set(names)) != len(names):
            raise ValueError("a file is listed twice")
        if names[-1] != ROOTFS or VMLINUX not in names:
            raise ValueError(f"{VMLINUX} and, as the last one, {ROOTFS} are needed")
        for file in self.files:
            _check_file(file)
        if sum(file.size for file in self.files if file.path.startswith(MODULES)) > MODULES_MAX:
            raise ValueError("the modules are too big")
        return self

    @property
    def space(self) -> int:
        """How many bytes of disk its files take."""
        return sum(file.stored for file in self.files)


def _check_file(file: BundledFile) -> None:
    shown = ascii(file.path[:200])
    inside = file.path.removeprefix(MODULES)
    if inside != file.path:
        parts = inside.split("/")
        strange = not all(_COMPONENT.fullmatch(part) for part in parts)
        if strange or len(parts) > 20 or not is_wanted(inside):
            raise ValueError(f"{shown} is no module of a kernel")
    elif file.path not in _LIMITS:
        raise ValueError(f"{shown} has no place in a bundle")
    if file.size > _LIMITS.get(file.path, MODULES_MAX):
        raise ValueError(f"{shown} is too big")
    if file.sparse is not (file.path == ROOTFS):
        raise ValueError(f"{ROOTFS} is the sparse file, and the only one")
    if file.stored > file.size or (not file.sparse and file.stored != file.size):
        raise ValueError(f"{shown} has other bytes than its size")


def read_manifest(data: bytes) -> Manifest:
    """Check a manifest. Raises HostileInput for anything that is not exactly one."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as problem:
        raise _refused(f"it is no JSON ({str(problem)[:200]})") from problem
    if (
        isinstance(found, dict)
        and found.get("format") == FORMAT
        and found.get("version") != VERSION
    ):
        raise HostileInput(
            "the bundle was made by another version of banger",
            cause=f"its format has the version {ascii(found.get('version'))[:40]}, "
            f"this banger knows {VERSION}",
            hints=["update banger", "export the image again with this version"],
        )
    try:
        return Manifest.model_validate(found)
    except ValidationError as problem:
        first = problem.errors()[0]
        where = ".".join(map(str, first["loc"]))[:200]
        why = first["msg"].removeprefix("Value error, ")[:300]
        raise _refused(f"{where}: {why}".removeprefix(": ")) from problem


def write_manifest(manifest: Manifest) -> bytes:
    """Return the manifest as it stands in a bundle: the same one gives the same bytes."""
    return json.dumps(manifest.model_dump(), indent=1, sort_keys=True).encode() + b"\n"


def _refused(cause: str) -> HostileInput:
    return HostileInput(
        "the bundle's manifest is not one", cause=cause, hints=["fetch or export it again"]
    )
