"""What the predecessor packaged: a directory or an archive with a ``bundle.json``, and
``runtime-bundle.toml`` files that say where such an archive is.

``bundle.json`` names ``kernel``, ``initrd``, ``modules`` and ``rootfs`` by paths relative to
itself (also as ``default_kernel``, ``default_initrd``, ``default_modules_dir`` and
``default_rootfs``), and ``defaults``, which may hold the same. All else in it is passed over.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from banger_core.bundle.parts import write_sparse
from banger_core.bundle.unpack import members, told_of, without_holes
from banger_core.errors import HostileInput, IntegrityError, UsageProblem
from banger_core.kernel.intake import ModuleTree, is_wanted
from banger_core.kernel.origin import Origin
from banger_core.model import Entry, EntryKind
from banger_core.quoting import quoted
from banger_core.store.content import create_private, room_in

DOCUMENT = "bundle.json"
DOCUMENT_MAX = 1 << 20

Report = Callable[[str, int, int], None]


class Description(BaseModel):
    """A ``bundle.json``, or the table ``bundle_metadata`` of a ``runtime-bundle.toml``."""

    model_config = ConfigDict(extra="ignore", strict=True)

    kernel: str = Field(validation_alias=AliasChoices("kernel", "default_kernel"), min_length=1)
    rootfs: str = Field(validation_alias=AliasChoices("rootfs", "default_rootfs"), min_length=1)
    initrd: str = Field(default="", validation_alias=AliasChoices("initrd", "default_initrd"))
    modules: str = Field(
        default="", validation_alias=AliasChoices("modules", "default_modules_dir")
    )
    defaults: dict[str, Any] = {}

    @property
    def dropped(self) -> list[str]:
        """Its defaults for VMs, which are the configuration's business here."""
        paths = ("kernel", "rootfs", "initrd", "modules")
        return sorted(name for name in self.defaults if name not in paths)


class RuntimeBundle(BaseModel):
    """A ``runtime-bundle.toml``: which archive to fetch, and what must be in it."""

    model_config = ConfigDict(extra="ignore", strict=True)

    version: str
    url: str = Field(min_length=1)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bundle_root: str = ""
    required_paths: list[str] = []
    bundle_metadata: dict[str, Any] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """An image's parts where they lie now."""

    rootfs: Path
    kernel: Origin
    description: Description


def read_description(data: bytes | Mapping[str, Any], what: str) -> Description:
    """Check a description. Raises HostileInput."""
    try:
        found = json.loads(data) if isinstance(data, bytes) else dict(data)
        defaults = found.get("defaults") if isinstance(found, dict) else None
        if isinstance(defaults, dict):
            found = {**defaults, **found}
        return Description.model_validate(found)
    except ValidationError as problem:
        raise _malformed(what, problem) from problem
    except (ValueError, RecursionError) as problem:
        raise HostileInput(f"{what} is no JSON", cause=str(problem)[:200]) from problem


def read_runtime_bundle(data: bytes, what: str) -> RuntimeBundle:
    """Check a ``runtime-bundle.toml``. Raises HostileInput."""
    try:
        return RuntimeBundle.model_validate(tomllib.loads(data.decode()))
    except ValidationError as problem:
        raise _malformed(what, problem) from problem
    except ValueError as problem:
        raise HostileInput(f"{what} is no TOML", cause=str(problem)[:200]) from problem


def gather_directory(directory: Path) -> Gathered:
    """Find the parts that the ``bundle.json`` in ``directory`` names. Raises UsageProblem."""
    document = directory / DOCUMENT
    if not document.is_file():
        raise UsageProblem(
            f"{directory} is no bundle", cause=f"it has no {DOCUMENT}", hints=[f"ls {directory}"]
        )
    with document.open("rb") as file:
        found = read_description(file.read(DOCUMENT_MAX), str(document))

    def place(name: str) -> Path:
        path = directory.joinpath(*_relative(name).parts)
        if not path.resolve().is_relative_to(directory.resolve()) or not path.exists():
            raise UsageProblem(
                f"{document} names what is not in its directory",
                cause=quoted(name),
                hints=[f"ls -l {path}"],
            )
        return path

    return Gathered(
        rootfs=place(found.rootfs),
        kernel=Origin(
            kernel=place(found.kernel),
            initrd=place(found.initrd) if found.initrd else None,
            modules=place(found.modules) if found.modules else None,
            follow=False,
        ),
        description=found,
    )


def gather_archive(
    archive: Path, into: Path, report: Report, *, runtime: RuntimeBundle | None = None
) -> Gathered:
    """Unpack what a ``bundle.json`` in ``archive`` names, under names of ours, into the empty
    directory ``into``. Everything else is passed over.

    ``runtime`` says in which directory to look, what must be there, and perhaps stands for the
    ``bundle.json``. Raises HostileInput, IntegrityError and NoSpace.
    """
    root = _relative(runtime.bundle_root) if runtime else None
    metadata = runtime.bundle_metadata if runtime else {}
    with told_of(archive):
        if metadata and root is not None:
            found = read_description(metadata, "bundle_metadata")
        else:
            root, found = _find_description(archive, root)
        taker = _Taker(root, found, into, report)
        with room_in(into), members(archive) as entries:
            taker.take_all(entries)
        taker.check(
            [root / _relative(path) for path in (runtime.required_paths if runtime else ())]
        )
    return Gathered(
        rootfs=into / "rootfs",
        kernel=Origin(
            kernel=into / "kernel",
            initrd=into / "initrd" if found.initrd else None,
            modules=into / "modules" if found.modules else None,
            follow=False,
        ),
        description=found,
    )


class _Taker:
    """Writes the members that are wanted, whatever else comes by."""

    def __init__(self, root: PurePosixPath, found: Description, into: Path, report: Report) -> None:
        self._into, self._report = into, report
        parts = {"kernel": found.kernel, "initrd": found.initrd, "rootfs": found.rootfs}
        self._wanted = {root / _relative(path): part for part, path in parts.items() if path}
        self._modules = root / _relative(found.modules) if found.modules else None
        self._tree = ModuleTree(into / "modules")
        self._seen: set[PurePosixPath] = set()
        self._size = 0

    def take_all(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            path = _relative(os.fsdecode(entry.path))
            self._seen.update((path, *path.parents))
            if part := self._wanted.get(path):
                self._take(part, entry)
            elif self._modules and path.is_relative_to(self._modules):
                self._take_module(path.relative_to(self._modules), entry)

    def check(self, required: Iterable[PurePosixPath]) -> None:
        wanted = [*self._wanted, *([self._modules] if self._modules else []), *required]
        for path in wanted:
            if path not in self._seen:
                raise IntegrityError("it is not whole", cause=f"{quoted(path)} is missing")

    def _take(self, part: str, entry: Entry) -> None:
        if entry.kind is not EntryKind.FILE:
            raise HostileInput(
                f"its {part} is a {entry.kind.value}", cause="only regular files are taken"
            )
        try:
            handle = create_private(self._into / part)
        except FileExistsError:
            raise HostileInput(f"its {part} is in it twice") from None

        def tell(done: int) -> None:
            self._report("unpacking", done, 0)

        with os.fdopen(handle, "wb") as file:
            write_sparse(file, entry.data or (), tell)

    def _take_module(self, inner: PurePosixPath, entry: Entry) -> None:
        # Distributions ship links to where the kernel was built, and more: they are passed over
        if entry.kind is EntryKind.FILE and is_wanted(str(inner)):
            self._tree.write(str(inner), without_holes(entry))


def _find_description(
    archive: Path, root: PurePosixPath | None
) -> tuple[PurePosixPath, Description]:
    with members(archive) as entries:
        for entry in entries:
            path = _relative(os.fsdecode(entry.path))
            fits = path.parent == root if root is not None else len(path.parts) <= 2
            if path.name == DOCUMENT and fits and entry.kind is EntryKind.FILE:
                if entry.size > DOCUMENT_MAX:
                    raise HostileInput(f"its {DOCUMENT} is too big", cause=f"{entry.size} bytes")
                data = b"".join(bytes(chunk) for chunk in entry.data or ())
                return path.parent, read_description(data, f"its {DOCUMENT}")
    raise HostileInput("it is no bundle", cause=f"it has neither manifest.json nor {DOCUMENT}")


def _relative(text: str) -> PurePosixPath:
    """A path inside of a bundle. Raises HostileInput for one that leads out of it."""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts or "\0" in text:
        raise HostileInput("it has a path that leads out of it", cause=quoted(text))
    return path


def _malformed(what: str, problem: ValidationError) -> HostileInput:
    first = problem.errors()[0]
    where = ".".join(map(str, first["loc"]))[:200]
    return HostileInput(f"{what} is not what it should be", cause=f"{where}: {first['msg'][:200]}")
