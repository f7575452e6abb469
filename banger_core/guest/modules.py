"""Choose kernel modules and put them in the order in which they must be loaded.

Works on the modules directory of a kernel package, where depmod need not have run: dependencies
come from each module's own ``.modinfo`` section, as kmod reads them.
"""

from __future__ import annotations

import re
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from banger_core.errors import IntegrityError, UsageProblem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

MODULE_MAX = 64 << 20
"""Most bytes of one module; the largest of a distribution is below 20 MiB."""

_FILE = re.compile(r"([A-Za-z0-9_-]{1,100})\.ko(\.xz|\.gz|\.zst)?")
_LIST_MAX = 16 << 20
_DEPTH_MAX = 100
# Where modules are that others ask for by what they do ("crypto-crc32c") and not by name
_LIBRARIES = frozenset({"crypto", "lib"})


@dataclass(frozen=True, slots=True)
class Module:
    """A module, decompressed. ``name`` is its canonical name, with ``_`` for ``-``."""

    name: str
    data: bytes


class ModuleTree:
    """The modules of one kernel."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[str, Path] = {}
        for path in sorted(directory.rglob("*.ko*")):
            if (name := _FILE.fullmatch(path.name)) and path.is_file():
                self._files.setdefault(canonical(name[1]), path)
        self._builtin = {_stem(line) for line in self._list("modules.builtin")}

    def select(self, wanted: Iterable[str], loaded: Iterable[str] = ()) -> list[Module]:
        """Return ``wanted`` and all that it needs, dependencies first, without those in
        ``loaded``. Built-in modules, and wanted ones that this kernel does not have, are left
        out. Raises IntegrityError when a dependency is missing or a module is damaged.
        """
        chosen: dict[str, Module] = {}
        seen = {canonical(name) for name in loaded} | self._builtin
        for name in wanted:
            if canonical(name) in self._files:
                self._add(canonical(name), chosen, seen)
        return list(chosen.values())

    def _add(self, name: str, chosen: dict[str, Module], seen: set[str], depth: int = 0) -> None:
        if name in seen:
            return
        seen.add(name)
        if depth > _DEPTH_MAX:
            raise IntegrityError(
                "the kernel's modules depend on each other without end", cause=f"at {name[:80]!r}"
            )
        if name not in self._files:
            raise IntegrityError(
                f"the kernel's module {name[:80]!r} is missing",
                cause="another module depends on it",
            )
        data = read_module(self._files[name])
        with _told_of(name):
            needs, wished = [*dependencies(data)], [*wishes(data)]
        for needed in needs:
            self._add(needed, chosen, seen, depth + 1)
        # What it asks for by what it does; the kernel may do without, so a lack is no error
        for wish in wished:
            for provider in self._providers(wish):
                self._add(provider, chosen, seen, depth + 1)
        chosen[name] = Module(name, data)

    def _providers(self, wish: str) -> list[str]:
        """Return the modules, by file, that go by a name or an alias."""
        if wish in self._builtin or wish in self._builtin_aliases:
            return []
        return [wish] if wish in self._files else self._aliases.get(wish, [])

    @cached_property
    def _aliases(self) -> dict[str, list[str]]:
        """Aliases without wildcards, from depmod's list or from the modules that others ask for."""
        found: dict[str, list[str]] = {}
        if (self._directory / "modules.alias").is_file():
            pairs = [line.split()[1:3] for line in self._list("modules.alias")]
            known = ((pair[0], canonical(pair[1])) for pair in pairs if len(pair) == 2)
        else:
            known = ((alias, name) for name in self._libraries() for alias in self._names_of(name))
        for alias, name in known:
            if "*" not in alias and name in self._files:
                found.setdefault(canonical(alias), []).append(name)
        return found

    @cached_property
    def _builtin_aliases(self) -> set[str]:
        lines = self._list("modules.builtin.modinfo", "\0")
        fields = (line.partition("=") for line in lines)
        return {canonical(value) for key, _, value in fields if key.endswith(".alias")}

    def _libraries(self) -> Iterator[str]:
        for name, path in self._files.items():
            if _LIBRARIES.intersection(path.relative_to(self._directory).parts[:-1]):
                yield name

    def _names_of(self, name: str) -> list[str]:
        data = read_module(self._files[name])
        with _told_of(name):
            return [value for key, value in _modinfo(data) if key == "alias"]

    def _list(self, name: str, separator: str = "\n") -> list[str]:
        """Return the lines of one of the tree's lists; none when there is no such list."""
        path = self._directory / name
        if not path.is_file():
            return []
        with path.open("rb") as file:
            text = file.read(_LIST_MAX + 1)
        if len(text) > _LIST_MAX:
            raise IntegrityError(f"the kernel's {name} is too long")
        return text.decode("utf-8", "replace").split(separator)


def canonical(name: str) -> str:
    """The name under which the kernel knows a module: ``-`` and ``_`` are the same to it."""
    return name.replace("-", "_")


def dependencies(module: bytes) -> Iterator[str]:
    """Yield the canonical names of the modules that this one (an ELF file) needs.

    Raises IntegrityError when it is not a 64-bit little-endian ELF file with a ``.modinfo``.
    """
    for key, value in _modinfo(module):
        if key == "depends":
            yield from (canonical(name) for name in value.split(",") if name)


def wishes(module: bytes) -> Iterator[str]:
    """Yield the canonical names or aliases of what should be loaded before this module, where
    there is such a thing (``softdep=pre: …``, see modprobe.d(5)). Raises IntegrityError.
    """
    for key, value in _modinfo(module):
        if key == "softdep":
            before = False
            for word in value.split():
                if word.endswith(":"):
                    before = word == "pre:"
                elif before:
                    yield canonical(word)


def read_module(path: Path) -> bytes:
    """Return a module, unpacked from gzip, xz or zstd. Raises IntegrityError for damage and for
    more than ``MODULE_MAX`` bytes, HostNotReady when this host cannot unpack it.
    """
    with path.open("rb") as file:
        data = file.read(MODULE_MAX + 1)
    if len(data) > MODULE_MAX:
        raise _damaged(path, f"more than {MODULE_MAX >> 20} MiB")
    if path.suffix == ".ko":
        return data
    from banger_core.kernel.compression import decompress

    try:
        return decompress(data, MODULE_MAX)
    except UsageProblem as problem:
        raise _damaged(path, problem.cause) from problem


def _damaged(path: Path, cause: str) -> IntegrityError:
    return IntegrityError(f"damaged kernel module {path.name[:120]}", cause=cause)


@contextmanager
def _told_of(name: str) -> Iterator[None]:
    """Make a complaint about the content of a module say which one it is."""
    try:
        yield
    except IntegrityError as problem:
        raise IntegrityError(f"{problem.summary}: {name[:120]}", cause=problem.cause) from problem


def _modinfo(module: bytes) -> Iterator[tuple[str, str]]:
    for item in _section(module, b".modinfo").split(b"\0"):
        key, _, value = item.decode("utf-8", "replace").partition("=")
        yield key, value


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
            if elf[start : start + len(wanted) + 1] == wanted + b"\0":
                return elf[offset : offset + length]
    except (struct.error, IndexError, OverflowError, ValueError) as problem:
        raise IntegrityError("damaged kernel module", cause=str(problem)) from problem
    raise IntegrityError("not a kernel module", cause=f"no section {wanted.decode()}")


def _stem(path: str) -> str:
    return canonical(path.rpartition("/")[2].partition(".ko")[0])
