"""One line in the user's ``~/.ssh/config``: put there, found again, taken away.

The line stands at the top, where no ``Host`` of others can hold it back, and ends with a mark
by which it is known. Everything else in the file stays as it is, byte for byte.
"""

from __future__ import annotations

import os
import pwd
import re
import stat
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from banger_core.errors import Conflict, HostNotReady, UsageProblem

SIZE_MAX = 1 << 20
"""Longest configuration that is edited (bytes)."""

_PLAIN, _FILE, _DIRECTORY = "added-by-banger", "file-added-by-banger", "directory-added-by-banger"
# One word, since OpenSSH before 8.7 takes the words of a comment for names of files
_MARKED = re.compile(
    rb"(?m)^Include [^\n]*# ((?:file-|directory-)?added-by-banger)[ \t]*\r?(?:\n|\Z)"
)
_TRIES = 5
_PATIENCE = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What was done to the file ``path``: ``installed``, ``replaced``, ``unchanged``, ``removed``
    or ``absent``. ``made`` says that the file had to be made, or went with the line.
    """

    path: Path
    action: str
    made: bool = False


@dataclass(frozen=True, slots=True)
class _Found:
    """A configuration as it was read. ``facts`` is None when there is none."""

    target: Path
    data: bytes
    facts: os.stat_result | None


def user_config() -> Path:
    """Return the file that ssh reads for this user: in the home directory of the user database,
    not in ``HOME``. Raises UsageProblem when the two differ: which one is meant cannot be known.
    """
    try:
        home = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        raise HostNotReady(
            f"uid {os.getuid()} is not in the user database",
            cause="ssh does not run for such a user",
        ) from None
    said = os.environ.get("HOME", home)
    if not _same(home, said):
        raise UsageProblem(
            f"ssh reads {home}/.ssh/config, but HOME is {said}",
            cause="ssh takes the home directory from the user database and ignores HOME",
            hints=[f"HOME={home} banger ssh config --install", "or say which file with --file"],
        )
    return Path(home, ".ssh", "config")


def check_readable(included: Path) -> None:
    """Raise HostNotReady unless this host's ssh understands ``included``: with one line that it
    does not know it would reach no host at all.
    """
    import subprocess

    try:
        done = subprocess.run(
            ["ssh", "-G", "-F", str(included), "name.vm"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PATIENCE,
            check=False,
        )
        said = done.stderr.decode(errors="replace").strip().splitlines() if done.returncode else []
    except (OSError, subprocess.TimeoutExpired) as problem:
        done, said = None, [str(problem)]
    if done is None or done.returncode:
        from banger_core.packages import install_command

        raise HostNotReady(
            "this host's ssh cannot read banger's configuration",
            cause=said[0][:200] if said else "it does not say why",
            hints=[f"{install_command('ssh')}   (8.7 or newer)", "banger doctor"],
        )


def install(path: Path, line: str) -> Change:
    """Put ``line`` (an ``Include``, without end) at the very top of ``path``. Idempotent; another
    line that was put there before goes.

    Raises HostNotReady when ``path`` cannot be edited; then it is as it was.
    """
    made_directory = _prepare(path.parent)
    try:
        return _insert(path, line, made_directory=made_directory)
    except BaseException:
        if made_directory:
            with suppress(OSError):
                path.parent.rmdir()
        raise


def uninstall(path: Path) -> Change:
    """Take away what ``install`` added to ``path``: the line, and the file and its directory when
    they were made for it and hold nothing else. Raises HostNotReady as ``install`` does.
    """
    for _ in range(_TRIES):
        found = _read(path)
        old = _MARKED.search(found.data)
        if not old:
            return Change(path=path, action="absent")
        data = _MARKED.sub(b"", found.data)
        if data or old[1].decode() == _PLAIN:
            if _replace(found, data):
                return Change(path=path, action="removed")
        elif _unchanged(found):
            _remove(path, found.target, directory=old[1].decode() == _DIRECTORY)
            return Change(path=path, action="removed", made=True)
    raise _busy(path)


def _insert(path: Path, line: str, *, made_directory: bool) -> Change:
    for _ in range(_TRIES):
        found = _read(path)
        old = _MARKED.search(found.data)
        mark = old[1].decode() if old else _mark(found, made_directory=made_directory)
        end = "\r\n" if re.match(rb"[^\n]*\r\n", found.data) else "\n"
        data = f"{line} # {mark}{end}".encode() + _MARKED.sub(b"", found.data)
        if data == found.data:
            return Change(path=path, action="unchanged")
        if _replace(found, data):
            action = "replaced" if old else "installed"
            return Change(path=path, action=action, made=found.facts is None)
    raise _busy(path)


def _mark(found: _Found, *, made_directory: bool) -> str:
    if found.facts is not None:
        return _PLAIN
    return _DIRECTORY if made_directory else _FILE


def _same(one: str, other: str) -> bool:
    try:
        return Path(one).samefile(other)
    except OSError:
        return os.path.abspath(one) == os.path.abspath(other)  # noqa: PTH100 - links stay


def _prepare(directory: Path) -> bool:
    """Make the directory (0700) when it is missing, and say whether that was so."""
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        if not directory.is_dir():
            _refuse(directory, "it is not a directory")
        return False
    except OSError as problem:
        _refuse(directory, problem.strerror)
    return True


def _read(path: Path) -> _Found:
    """Read the file that ``path`` leads to, and check that it may be replaced."""
    target = _target(path)
    try:
        handle = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        if path.is_symlink() and not target.parent.is_dir():
            _refuse(path, f"it is a link to {target}, whose directory is missing")
        return _Found(target, b"", None)
    except OSError as problem:
        _refuse(path, problem.strerror)
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            _refuse(path, "it is not a regular file")
        if facts.st_uid != os.geteuid():
            _refuse(path, f"it belongs to uid {facts.st_uid}, this is uid {os.geteuid()}")
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = file.read(SIZE_MAX + 1)
    finally:
        os.close(handle)
    if len(data) > SIZE_MAX:
        _refuse(path, f"it is larger than {SIZE_MAX} bytes")
    return _Found(target, data, facts)


def _target(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        _refuse(path, "its links go round in a circle")


def _replace(found: _Found, data: bytes) -> bool:
    """Replace the file by ``data``; false when it is not the one any more that was read."""
    facts = found.facts
    if facts is not None and not facts.st_mode & stat.S_IWUSR:
        _refuse(found.target, "it is read-only", f"chmod u+w {found.target}")
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(prefix=".config-", dir=found.target.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            if facts is not None:
                _dress(handle, found.target, facts)
            file.flush()
            os.fsync(handle)
        if not _unchanged(found):
            return False
        os.rename(temporary, found.target)  # noqa: PTH104 - a plain name
        temporary = ""
        _sync(found.target.parent)
    except OSError as problem:
        _refuse(found.target, problem.strerror)
    finally:
        if temporary:
            os.unlink(temporary)  # noqa: PTH108 - a plain name
    return True


def _dress(handle: int, target: Path, facts: os.stat_result) -> None:
    """Give the new file the group, mode and extended attributes of the old one."""
    with suppress(PermissionError):
        os.fchown(handle, -1, facts.st_gid)
    with suppress(OSError):
        for name in os.listxattr(target):
            with suppress(OSError):
                os.setxattr(handle, name, os.getxattr(target, name))
    os.fchmod(handle, stat.S_IMODE(facts.st_mode))


def _unchanged(found: _Found) -> bool:
    try:
        now = os.lstat(found.target)
    except FileNotFoundError:
        return found.facts is None
    before = found.facts
    return before is not None and _identity(now) == _identity(before)


def _identity(facts: os.stat_result) -> tuple[int, ...]:
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _remove(path: Path, target: Path, *, directory: bool) -> None:
    try:
        target.unlink()
        if directory:
            # Whatever came to lie there since is somebody's
            with suppress(OSError):
                path.parent.rmdir()
    except OSError as problem:
        _refuse(target, problem.strerror)


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refuse(path: Path, cause: str | None, hint: str = "") -> NoReturn:
    raise HostNotReady(
        f"{path} cannot be edited",
        cause=cause or "it cannot be opened",
        hints=[
            hint or f"ls -ld {path}",
            "or put the line there yourself: banger ssh config --json shows it",
        ],
    )


def _busy(path: Path) -> Conflict:
    return Conflict(
        f"{path} changes all the time",
        cause="somebody else writes to it",
        hints=["run the command again"],
    )
