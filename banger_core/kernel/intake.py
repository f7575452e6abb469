"""Taking files that a user names: regular ones, of a bounded size, into a private directory.

A path that the user gave is followed wherever it leads, as any program would. What is found below
it is not: a symbolic link there is never opened.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path

from banger_core.config.paths import secure_dir
from banger_core.errors import HostileInput, HostNotReady, UsageProblem
from banger_core.kernel.modulelist import MODULE_FILE
from banger_core.store.content import create_private, write_atomic

Report = Callable[[str, int, int], None]
"""``Operation.progress``: what, bytes done, bytes in all (0: unknown)."""

INITRD_MAX = 2 << 30
"""Most bytes of an initial RAM disk."""
MODULES_MAX = 4 << 30
"""Most bytes of all modules of a kernel together."""
MODULE_FILES_MAX = 50_000

_CHUNK = 1 << 20
_LIST = re.compile(r"modules\.[a-z.]{1,40}")
_COMPONENT = re.compile(r"[A-Za-z0-9_+@,=-][A-Za-z0-9_.+@,=-]{0,127}")


def read_file(path: Path, limit: int, *, follow: bool = False) -> bytes:
    """Return the content of a regular file. Raises UsageProblem when it is none, is empty or has
    more than ``limit`` bytes, and HostNotReady when it may not be read.
    """
    return b"".join(_chunks(path, limit, follow=follow))


def take_file(path: Path, target: Path, limit: int, *, follow: bool = False) -> None:
    """Copy a regular file to ``target`` (0600). Raises as ``read_file`` does, and NoSpace."""
    write_atomic(target, _chunks(path, limit, follow=follow))


def take_modules(directory: Path, into: Path, report: Report) -> None:
    """Copy modules (``*.ko``, packed or not) and the ``modules.*`` lists into the new directory
    ``into``; everything else in ``directory`` (``build``, links, firmware) is passed over.

    Raises UsageProblem when there is neither a module nor a list, and HostileInput for too much.
    """
    tree = ModuleTree(into)
    for place, _, names in os.walk(directory, onerror=_raise):
        inner = Path(place).relative_to(directory)
        for name in sorted(names):
            path = Path(place, name)
            if is_wanted(inner / name) and stat.S_ISREG(path.lstat().st_mode):
                tree.write(str(inner / name), _chunks(path, MODULES_MAX, empty=True))
                report("copying the modules", tree.size, 0)
    if not tree.files:
        raise UsageProblem(
            f"there are no kernel modules in {directory}",
            cause="it has neither *.ko files nor modules.builtin",
            hints=["--modules /lib/modules/VERSION"],
        )


def is_wanted(name: Path | str) -> bool:
    """Say whether ``name``, relative to a directory of modules, is a module or a list of them."""
    path = Path(name)
    if len(path.parts) == 1 and _LIST.fullmatch(path.name):
        return True
    return MODULE_FILE.fullmatch(path.name) is not None


class ModuleTree:
    """A directory of modules in the making. ``files`` and ``size`` (bytes) count what is there."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._directories: set[Path] = set()
        self.files = 0
        self.size = 0

    def write(self, name: str, chunks: Iterator[bytes]) -> None:
        """Write the file ``name``, a relative path. Raises HostileInput for a strange one, one
        that is there already, and too many or too big ones.
        """
        parts = name.split("/")
        if not all(_COMPONENT.fullmatch(part) for part in parts):
            raise _refused(f"a module has the strange name {name[:200]!r}")
        directory = self._root.joinpath(*parts[:-1])
        if directory not in self._directories:
            if any(parent.is_file() for parent in (directory, *directory.parents)):
                raise _refused(f"{name[:200]!r} has a file where a directory is")
            self._directories.add(secure_dir(directory))
        self.files += 1
        try:
            handle = create_private(directory / parts[-1])
        except FileExistsError:
            raise _refused(f"{name[:200]!r} is there twice") from None
        with os.fdopen(handle, "wb") as file:
            for chunk in chunks:
                self.size += len(chunk)
                if self.size > MODULES_MAX or self.files > MODULE_FILES_MAX:
                    raise _refused("there are too many modules, or too big ones")
                file.write(chunk)


def check_file(path: Path) -> None:
    """Raise as ``read_file`` does unless ``path`` leads to a regular file that can be read."""
    _open(path, follow=True).close()


def _chunks(
    path: Path, limit: int, *, follow: bool = False, empty: bool = False
) -> Iterator[bytes]:
    with _open(path, follow=follow, empty=empty) as file:
        total = 0
        while chunk := file.read(_CHUNK):
            total += len(chunk)
            if total > limit:
                raise _unusable(path, f"it has more than {limit >> 20} MiB", f"ls -l {path}")
            yield chunk


def _open(path: Path, *, follow: bool, empty: bool = False) -> FileIO:
    # A pipe must not make anybody wait: it is opened without, and then refused
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        file = FileIO(os.open(path, flags))
    except PermissionError as problem:
        raise HostNotReady(
            f"{path} cannot be read",
            cause=problem.strerror or "",
            hints=[f"sudo chmod a+r {path}"],
        ) from problem
    except OSError as problem:
        if problem.errno == errno.ELOOP and not follow:
            raise _unusable(path, "it is a symbolic link", "name the file itself") from problem
        raise _unusable(path, problem.strerror or "", f"ls -ld {path}") from problem
    facts = os.fstat(file.fileno())
    regular = stat.S_ISREG(facts.st_mode)
    if not regular or not (facts.st_size or empty):
        file.close()
        raise _unusable(
            path, "it is empty" if regular else "it is not a regular file", f"ls -ld {path}"
        )
    return file


def _unusable(path: Path, why: str, hint: str) -> UsageProblem:
    return UsageProblem(f"{path} cannot be taken", cause=why, hints=[hint])


def _refused(why: str) -> HostileInput:
    return HostileInput(
        "the kernel's modules are not taken",
        cause=why,
        hints=["fetch the kernel from its distribution again"],
    )


def _raise(problem: OSError) -> None:
    raise HostNotReady(
        f"{problem.filename} cannot be read",
        cause=problem.strerror or "",
        hints=[f"ls -ld {problem.filename}"],
    ) from problem
