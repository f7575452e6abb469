"""Private directories, found and made so that nobody else can put another in their place.

A path is walked component by component, each opened relative to the one before (openat(2)) and
never through a symbolic link that has not been looked at. A directory on the way is good when
only this user and root can rename what is in it: one of the two owns it, and nobody else may write
there, unless it has the sticky bit (``/tmp``), under which everybody can only move what is theirs.
Once the whole way is good the path may be used by its name: nobody else can change what it names.
"""

from __future__ import annotations

import errno
import os
import shlex
import stat
from contextlib import suppress
from pathlib import Path

from banger_core.errors import HostNotReady

ELSEWHERE = "BANGER_{STATE,CACHE,CONFIG,RUNTIME}_DIR say where banger's directories are"

_LINKS_MAX = 40
"""Symbolic links that one path may lead through, as for the kernel (path_resolution(7))."""

_LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_UNCHECKED = 0o1700
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def make_private(path: Path) -> None:
    """Make the absolute ``path`` a directory that only this user can enter (0700).

    Missing parents are created 0700 as well; an existing directory of ours is tightened, unless
    it holds what another user made while it was open. Raises HostNotReady when the directory is
    none of ours, is a symbolic link, or when another user could replace it.
    """
    walk = _Walk(path)
    try:
        walk.down()
        _tighten(path, walk.handle)
    finally:
        os.close(walk.handle)


class _Walk:
    """The way down to ``path``. ``handle`` is the directory that was reached (O_PATH)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rest = list(reversed(path.parts[1:]))
        self._links = 0
        self._at = Path("/")
        self._closed = True
        self.handle = os.open("/", _LOOK)

    def down(self) -> None:
        """Go all the way. Raises HostNotReady at the first place that cannot be trusted."""
        self._check(os.fstat(self.handle))
        while self._rest:
            name = self._rest.pop()
            last = not self._rest
            below = self._open(name)
            facts = os.fstat(below)
            if stat.S_ISLNK(facts.st_mode):
                self._follow(name, below, facts, last=last)
                continue
            os.close(self.handle)
            self.handle, self._at = below, self._at / name
            if not stat.S_ISDIR(facts.st_mode):
                raise self._unusable(self._at, f"{self._at} is not a directory")
            if not last:
                self._check(facts)

    def _open(self, name: str) -> int:
        try:
            with suppress(FileNotFoundError):
                return os.open(name, _LOOK, dir_fd=self.handle)
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=self.handle)
            return self._opened(name)
        except OSError as problem:
            raise HostNotReady(
                f"cannot create {self._at / name}",
                cause=problem.strerror or str(problem),
                hints=[_look_at(self._at), ELSEWHERE],
            ) from problem

    def _opened(self, name: str) -> int:
        """Open what was just made; a umask may keep even us out of it."""
        below = os.open(name, _LOOK, dir_fd=self.handle)
        facts = os.fstat(below)
        ours = stat.S_ISDIR(facts.st_mode) and facts.st_uid == os.geteuid()
        if ours and facts.st_mode & stat.S_IRWXU != stat.S_IRWXU:
            _change_mode(below, 0o700)
        return below

    def _follow(self, name: str, link: int, facts: os.stat_result, *, last: bool) -> None:
        target = os.readlink("", dir_fd=link)
        os.close(link)
        place, self._links = self._at / name, self._links + 1
        if last:
            raise self._unusable(self._path, "it is a symbolic link")
        if facts.st_uid not in (0, os.geteuid()) and not self._maybe_root(facts.st_uid):
            raise self._unusable(
                place, f"{place} is a symbolic link of another user (uid {facts.st_uid})"
            )
        if self._links > _LINKS_MAX:
            raise self._unusable(place, os.strerror(errno.ELOOP))
        if target.startswith("/"):
            os.close(self.handle)
            self.handle, self._at, self._closed = os.open("/", _LOOK), Path("/"), True
        self._rest += reversed([part for part in target.split("/") if part not in ("", ".")])

    def _check(self, facts: os.stat_result) -> None:
        """Refuse the directory that was reached when others can replace what is in it."""
        if facts.st_uid not in (0, os.geteuid()) and not self._maybe_root(facts.st_uid):
            raise self._unusable(
                self._at,
                f"{self._at} belongs to another user "
                f"(owner is uid {facts.st_uid}, this is uid {os.geteuid()})",
            )
        self._closed = not _others_write(self.handle, facts)
        if not self._closed and not facts.st_mode & stat.S_ISVTX:
            raise HostNotReady(
                f"{self._path} cannot be used as a private directory",
                cause=f"others may replace what is in {self._at}: "
                f"its mode is {stat.S_IMODE(facts.st_mode):04o}",
                hints=[f"chmod go-w {shlex.quote(str(self._at))}", ELSEWHERE],
            )

    def _maybe_root(self, uid: int) -> bool:
        """Say whether ``uid`` stands for the host's root in a user namespace without it.

        All owners that the namespace does not know look the same there. Where only trusted
        ones can write, as far as the walk has come, no other user has put anything.
        """
        return self._closed and uid == _overflow_uid()

    def _unusable(self, place: Path, cause: str) -> HostNotReady:
        return HostNotReady(
            f"{self._path} cannot be used as a private directory",
            cause=cause,
            hints=[_look_at(place), ELSEWHERE],
        )


def _tighten(path: Path, handle: int) -> None:
    facts = os.fstat(handle)
    if facts.st_uid != os.geteuid():
        raise HostNotReady(
            f"{path} belongs to another user",
            cause=f"owner is uid {facts.st_uid}, this is uid {os.geteuid()}",
            hints=[_look_at(path), ELSEWHERE],
        )
    mode = stat.S_IMODE(facts.st_mode)
    if mode == 0o700:
        return
    if path == Path("/") or (mode & stat.S_ISVTX and mode & stat.S_IWOTH):
        raise HostNotReady(
            f"{path} cannot be used as a private directory",
            cause="everybody uses it",
            hints=[_look_at(path), ELSEWHERE],
        )
    if mode & (_OTHERS_WRITE | stat.S_ISVTX):
        # Closed first, so that nothing is added while we look; the sticky bit stays until the
        # look was good, so that the next call looks again
        _change_mode(handle, _UNCHECKED)
        _check_content(path, handle)
    _change_mode(handle, 0o700)


def _check_content(path: Path, handle: int) -> None:
    within = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=handle)
    try:
        for name in sorted(os.listdir(within)):  # noqa: PTH208  (a handle, not a path)
            owner = os.stat(name, dir_fd=within, follow_symlinks=False).st_uid
            if owner not in (0, os.geteuid()):
                raise HostNotReady(
                    f"{path} holds what another user made",
                    cause=f"it was open to others, and {name!r} belongs to uid {owner}",
                    hints=[f"ls -la {shlex.quote(str(path))}", "remove what is not yours"],
                )
    finally:
        os.close(within)


def _change_mode(handle: int, mode: int) -> None:
    # fchmod(2) refuses handles that are only places; their name in /proc is the way (open(2))
    os.chmod(f"/proc/self/fd/{handle}", mode)  # noqa: PTH101


def _others_write(handle: int, facts: os.stat_result) -> bool:
    """Say whether anybody but the owner and root may write in a directory."""
    if not facts.st_mode & _OTHERS_WRITE:
        return False
    if facts.st_mode & stat.S_IWOTH:
        return True
    # With an access control list the group's bits are a mask for everybody in it (acl(5))
    lists = os.listxattr(f"/proc/self/fd/{handle}")
    return "system.posix_acl_access" in lists or not _is_own_group(facts.st_gid)


def _is_own_group(gid: int) -> bool:
    """Say whether only this user and root are in a group: root's, or the one that many systems
    give to each user, of the user's name.
    """
    if gid == 0:
        return True
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(os.geteuid()), grp.getgrgid(gid)
    except KeyError:
        return False
    return group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def _overflow_uid() -> int:
    """The uid that stands for those that this user namespace does not know (user_namespaces(7)),
    or -1 where all are known.
    """
    everybody = 2**32 - 1
    lines = Path("/proc/self/uid_map").read_text("ascii").splitlines()
    if any(int(line.split()[2]) == everybody for line in lines):
        return -1
    return int(Path("/proc/sys/kernel/overflowuid").read_text("ascii"))


def _look_at(path: Path) -> str:
    return f"ls -ld {shlex.quote(str(path))}"
