"""Workspaces: a checkout goes into a machine, and what was done there comes out as a patch.

What was sent is kept beside the machine's disks, so that it goes with them, and so that a guest
cannot say what it was given. A patch is made on this host: the machine needs no git, and nothing in
it changes.
"""

from __future__ import annotations

import json
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from os import fsencode
from pathlib import Path
from typing import Any

from banger_core.client.checkout import SENT, Checkout, commit_of, fetch_commit, fill
from banger_core.client.copy import NotCopied, Options, Report, Summary
from banger_core.client.copy_in import CopyIn
from banger_core.client.copy_out import CopyOut
from banger_core.client.git import Store
from banger_core.client.sftp import Job, Sftp
from banger_core.client.sftp_wire import NO_SUCH_FILE, Refused
from banger_core.errors import BangerError, Conflict, NotFound, UsageProblem

_RECORD = "workspace.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workspace:
    """One checkout in one machine: ``directory`` there, ``top`` here, ``commit`` what it is of."""

    directory: str
    top: str
    commit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """What was done in a machine. ``files`` are the paths that changed, as git shows them."""

    text: bytes
    files: tuple[str, ...]


def default_directory(top: Path) -> str:
    """What the directory of a checkout is called in a machine, below the user's own."""
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", top.name).strip("-.")
    return name or "workspace"


class Workspaces:
    """The workspaces of one machine. ``home`` is the directory that is removed with it."""

    def __init__(self, home: Path, vm: str) -> None:
        self._home, self._vm = home / "workspaces", vm

    def all(self) -> list[Workspace]:
        """Those that were prepared and are known."""
        found = [self._read(path) for path in sorted(self._home.glob(f"*/{_RECORD}"))]
        return [each for each in found if each is not None]

    def find(self, directory: str) -> Workspace:
        """The one in ``directory``; the only one, when that is empty. Raises NotFound and
        UsageProblem.
        """
        known = self.all()
        if not known:
            raise UsageProblem(
                f"{self._vm} has no workspace",
                cause="no checkout was sent there",
                hints=[f"banger vm workspace prepare {self._vm}"],
            )
        if not directory and len(known) == 1:
            return known[0]
        names = [each.directory for each in known]
        if not directory:
            raise UsageProblem(
                f"{self._vm} has several workspaces",
                cause=", ".join(names),
                hints=[f"--dir {names[0]}"],
            )
        for each in known:
            if each.directory == directory:
                return each
        raise NotFound(f"workspace of {self._vm}", directory, names)

    def prepare(
        self, session: Sftp, checkout: Checkout, directory: str, report: Report
    ) -> Workspace:
        """Send ``checkout`` to the new ``directory``. On any failure it is not a workspace.

        Raises Conflict when there is something of that name in the machine.
        """
        # Before anything: what is known of the one that is there stays
        _must_be_absent(session, directory, self._vm)
        place = self._place(directory)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(mode=0o700, parents=True)
        workspace = Workspace(directory=directory, top=str(checkout.top), commit=checkout.commit)
        try:
            tree = place / "tree"
            fill(Store.create(place / "git"), checkout, tree)
            work = CopyIn(session, self._vm, Options(resume=False), report)
            work.send([fsencode(tree)], fsencode(directory))
            _must_be_whole(work.summary)
            shutil.rmtree(tree)
            (place / _RECORD).write_text(json.dumps(asdict(workspace)))
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        return workspace

    def export(
        self, session: Sftp, workspace: Workspace, report: Report, *, base: str = ""
    ) -> Patch:
        """Return what differs in the machine from what was sent, or from the commit ``base`` of
        the checkout. Raises UsageProblem for a commit that is none.
        """
        store = Store(self._place(workspace.directory) / "git")
        if base:
            base = commit_of(Path(workspace.top), base)
            if base != workspace.commit:
                fetch_commit(store, Path(workspace.top), base)
        with _taken_back(session, workspace, self._vm, store.path.parent, report) as tree:
            store("read-tree", SENT, index="taken-index")
            # Into an index of its own: what the machine ignores stays out, as with git there
            store("add", "--all", ".", tree=tree, index="taken-index")
            theirs = store("write-tree", index="taken-index").decode().strip()
        words = ("--no-ext-diff", "--no-textconv", "--no-color", "--find-renames", base or SENT)
        text = store("diff-tree", "-r", "--binary", "--full-index", *words, theirs)
        names = store("diff-tree", "-r", "-z", "--name-only", *words, theirs)
        files = [name.decode("utf-8", "surrogateescape") for name in names.split(b"\0") if name]
        return Patch(text=text, files=tuple(files))

    def _place(self, directory: str) -> Path:
        return self._home / sha256(directory.encode()).hexdigest()[:16]

    def _read(self, path: Path) -> Workspace | None:
        try:
            data: Any = json.loads(path.read_text())
            return Workspace(**data)
        except (OSError, ValueError, TypeError):
            return None


@contextmanager
def _taken_back(
    session: Sftp, workspace: Workspace, vm: str, beside: Path, report: Report
) -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="back-", dir=beside))
    try:
        work = _WithoutRepositories(session, vm, Options(resume=False), report)
        work.fetch([fsencode(workspace.directory)], fsencode(place), b"tree")
        _must_be_whole(work.summary)
        yield place / "tree"
    finally:
        _remove(place)


class _WithoutRepositories(CopyOut):
    """Leaves every repository where it is: its configuration names programs, and git would run
    them.
    """

    def _entry(self, path: bytes, *rest: Any, **more: Any) -> Job:
        if path.rpartition(b"/")[2].lower() != b".git":
            yield from super()._entry(path, *rest, **more)

    def _mode(self, mode: int) -> int:
        # Whatever the guest says, we must be able to read it, and to remove it
        return super()._mode(mode) | (0o700 if stat.S_ISDIR(mode) else 0o600)


def _must_be_absent(session: Sftp, directory: str, vm: str) -> None:
    def job() -> Job:
        try:
            yield session.stat(fsencode(directory), follow=False)
        except Refused as problem:
            if problem.status == NO_SUCH_FILE:
                return
            raise
        raise Conflict(
            f"there is a {directory} in {vm} already",
            cause="a checkout goes into a directory of its own",
            hints=["--to ANOTHER", f"banger vm exec {vm} -- rm -r {directory}"],
        )

    session.run(job())


def _must_be_whole(summary: Summary) -> None:
    if summary.failures:
        path, reason = summary.failed[0]
        raise NotCopied(f"{summary.failures} files could not be copied", cause=f"{path}: {reason}")


def _remove(place: Path) -> None:
    def open_up(_: Callable[..., Any], path: str, __: Any) -> None:
        # A directory that the guest closed
        Path(path).parent.chmod(0o700)
        Path(path).unlink(missing_ok=True)

    shutil.rmtree(place, onerror=open_up)
    if place.exists():
        raise BangerError(
            f"{place} cannot be removed",
            cause="something in it stays, though its directories were opened",
            hints=[f"rm -r {place}"],
        )
