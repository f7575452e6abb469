"""Choose kernel modules and put them in the order in which they must be loaded.

Works on the modules directory of a kernel package, where depmod has not run: dependencies come
from each module's own ``.modinfo`` section, as kmod reads them.
"""

from __future__ import annotations

import gzip
import lzma
import struct
import subprocess
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from banger_core.errors import HostNotReady, IntegrityError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_SUFFIXES = (".ko", ".ko.xz", ".ko.gz", ".ko.zst")


@dataclass(frozen=True, slots=True)
class Module:
    """A module, decompressed. ``name`` is its canonical name, with ``_`` for ``-``."""

    name: str
    data: bytes


class ModuleTree:
    """The modules of one kernel."""

    def __init__(self, directory: Path) -> None:
        self._files: dict[str, Path] = {}
        for path in sorted(directory.rglob("*.ko*")):
            stem, dot, suffix = path.name.partition(".ko")
            if dot and dot + suffix in _SUFFIXES:
                self._files.setdefault(canonical(stem), path)
        self._builtin = _builtin(directory)

    def select(self, wanted: Iterable[str], loaded: Iterable[str] = ()) -> list[Module]:
        """Return ``wanted`` and all that it needs, dependencies first, without those in
        ``loaded``. Built-in modules, and wanted ones that this kernel does not have, are left
        out. Raises IntegrityError when a dependency is missing.
        """
        chosen: dict[str, Module] = {}
        seen = {canonical(name) for name in loaded} | self._builtin
        for name in wanted:
            if canonical(name) in self._files:
                self._add(canonical(name), chosen, seen)
        return list(chosen.values())

    def _add(self, name: str, chosen: dict[str, Module], seen: set[str]) -> None:
        if name in seen:
            return
        seen.add(name)
        if name not in self._files:
            raise IntegrityError(
                f"the kernel's module {name} is missing", cause="another module depends on it"
            )
        data = _read(self._files[name])
        for needed in dependencies(data):
            self._add(needed, chosen, seen)
        chosen[name] = Module(name, data)


def canonical(name: str) -> str:
    """The name under which the kernel knows a module: ``-`` and ``_`` are the same to it."""
    return name.replace("-", "_")


def dependencies(module: bytes) -> Iterator[str]:
    """Yield the canonical names of the modules that this one (an ELF file) needs.

    Raises IntegrityError when it is not a 64-bit little-endian ELF file with a ``.modinfo``.
    """
    for item in _section(module, b".modinfo").split(b"\0"):
        key, _, value = item.partition(b"=")
        if key == b"depends":
            yield from (
                canonical(name) for name in value.decode("utf-8", "replace").split(",") if name
            )


def _section(elf: bytes, wanted: bytes) -> bytes:
    """Return the content of a section (ELF-64 object file format, section header table)."""
    try:
        if elf[:6] != b"\x7fELF\x02\x01":
            raise IntegrityError("not a kernel module", cause="no 64-bit little-endian ELF file")
        (table,) = struct.unpack_from("<Q", elf, 40)
        size, count, names_index = struct.unpack_from("<HHH", elf, 58)
        headers = [struct.unpack_from("<IIQQQQ", elf, table + size * i) for i in range(count)]
        names = headers[names_index][4]
        for name, _, _, _, offset, length in headers:
            start = names + name
            if elf[start : elf.index(b"\0", start)] == wanted:
                return elf[offset : offset + length]
    except (struct.error, IndexError, OverflowError, ValueError) as problem:
        raise IntegrityError("damaged kernel module", cause=str(problem)) from problem
    raise IntegrityError("not a kernel module", cause=f"no section {wanted.decode()}")


def _builtin(directory: Path) -> set[str]:
    listing = directory / "modules.builtin"
    if not listing.is_file():
        return set()
    paths = listing.read_text().splitlines()
    return {canonical(path.rpartition("/")[2].partition(".ko")[0]) for path in paths}


def _read(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(data)
    if path.suffix == ".xz":
        return lzma.decompress(data)
    return _unzstd(data) if path.suffix == ".zst" else data


def _unzstd(data: bytes) -> bytes:
    for library in ("compression.zstd", "backports.zstd", "zstandard"):
        try:
            decompressed: bytes = import_module(library).decompress(data)
        except ImportError:
            continue
        return decompressed
    try:
        return subprocess.run(["zstd", "-dcq"], input=data, capture_output=True, check=True).stdout
    except FileNotFoundError:
        raise HostNotReady(
            "this kernel's modules are compressed with zstd",
            cause="neither the program zstd nor the Python package zstandard is installed",
            hints=["sudo apt-get install zstd"],
        ) from None
    except subprocess.CalledProcessError as problem:
        raise IntegrityError(
            "damaged kernel module", cause=problem.stderr.decode(errors="replace").strip()
        ) from problem
