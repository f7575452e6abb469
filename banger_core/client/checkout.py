"""A git checkout on this host, and what of it goes into a machine."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from banger_core.client.git import Store, git
from banger_core.errors import BangerError, UsageProblem

SENT = "refs/banger/sent"
"""The commit that holds exactly the files that went into the machine."""

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SUBMODULE = b"160000"
_UPLOAD = "git -c uploadpack.allowAnySHA1InWant=true upload-pack"


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What of a checkout is wanted: the files that git knows as they are now, with ``untracked``
    the others that are not ignored, too; or, with ``start``, those of a commit. ``branch`` is what
    the machine's branch is called, ``submodules`` says that they are left out knowingly.
    """

    untracked: bool = False
    start: str = ""
    branch: str = ""
    submodules: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkout:
    """A checkout that was looked at. ``files`` are relative to ``top``; None means those of
    ``commit``.
    """

    top: Path
    commit: str
    branch: str
    files: tuple[bytes, ...] | None
    submodules: tuple[bytes, ...]


def look(path: Path, choice: Choice) -> Checkout:
    """Look at the checkout that ``path`` lies in; nothing is changed. Raises UsageProblem."""
    top = _top(path)
    commit = commit_of(top, choice.start or "HEAD")
    submodules = _submodules(top, commit, whole=bool(choice.start))
    if submodules and not choice.submodules:
        names = ", ".join(name.decode("utf-8", "replace") for name in submodules[:5])
        raise UsageProblem(
            f"{top} has submodules",
            cause=f"a patch cannot hold what changes in them: {names}",
            hints=["--skip-submodules leaves them out", "prepare each of them by itself"],
        )
    branch = choice.branch or _branch(top)
    try:
        git("check-ref-format", "--branch", branch)
    except BangerError:
        raise UsageProblem(
            f"{branch!r} cannot be the name of a branch", hints=["--branch work"]
        ) from None
    files = None if choice.start else _files(top, set(submodules), untracked=choice.untracked)
    return Checkout(top=top, commit=commit, branch=branch, files=files, submodules=submodules)


def commit_of(top: Path, revision: str) -> str:
    """Return the commit that ``revision`` means in ``top``. Raises UsageProblem."""
    try:
        said = git("rev-parse", "--verify", "--quiet", "--end-of-options",
                   f"{revision}^{{commit}}", cwd=top)  # fmt: skip
    except BangerError:
        if revision == "HEAD":
            raise UsageProblem(
                f"{top} has no commit yet",
                cause="what is done in the machine is told apart from it",
                hints=["git commit", "banger vm cp takes any directory"],
            ) from None
        raise UsageProblem(
            f"{revision!r} is no commit of {top}", hints=[f"git -C {top} log --oneline"]
        ) from None
    commit = said.decode().strip()
    assert _COMMIT.fullmatch(commit), commit
    return commit


def names_of(checkout: Checkout) -> tuple[bytes, ...]:
    """The files that would go into a machine."""
    if checkout.files is not None:
        return checkout.files
    words = ("ls-tree", "-r", "-z", "--full-tree", "--name-only", checkout.commit)
    left = set(checkout.submodules)
    return tuple(name for name in _names(git(*words, cwd=checkout.top)) if name not in left)


def fill(store: Store, checkout: Checkout, tree: Path) -> None:
    """Take the commit and the files into ``store``, and lay the files out in the new directory
    ``tree``, with a repository of their own that has the commit and nothing before it.
    """
    fetch_commit(store, checkout.top, checkout.commit)
    if checkout.files is None:
        store("read-tree", checkout.commit, index="sent-index")
        _drop_submodules(store, checkout)
    else:
        store("update-index", "--add", "-z", "--stdin", tree=checkout.top, index="sent-index",
              stdin=b"".join(name + b"\0" for name in checkout.files))  # fmt: skip
    sent = store("write-tree", index="sent-index").decode().strip()
    commit = store("commit-tree", sent, "-p", checkout.commit, "-m", "what was sent")
    store("update-ref", SENT, commit.decode().strip())
    tree.mkdir(mode=0o700)
    store("checkout-index", "--all", "--quiet", f"--prefix={tree}/", index="sent-index")
    _lend_repository(store, checkout, tree / ".git")


def fetch_commit(store: Store, top: Path, commit: str) -> None:
    """Take ``commit`` of ``top`` into ``store``, without its history. Raises BangerError."""
    words = ("fetch", "--quiet", "--depth=1", "--no-tags", "--upload-pack", _UPLOAD)
    # The user's git: whether it trusts that directory is theirs to say
    source = f"file://{quote(os.fsencode(top))}"
    git(*words, source, commit, cwd=top, GIT_DIR=str(store.path), GIT_ALLOW_PROTOCOL="file")


def _lend_repository(store: Store, checkout: Checkout, target: Path) -> None:
    """Make the machine's repository: nothing of the host's configuration, remotes or hooks."""
    leave = shutil.ignore_patterns("sent-index", "banger", "attributes", "FETCH_HEAD")
    shutil.copytree(store.path, target, ignore=leave)
    theirs = Store(target)
    theirs("update-ref", f"refs/heads/{checkout.branch}", checkout.commit)
    theirs("symbolic-ref", "HEAD", f"refs/heads/{checkout.branch}")
    theirs("read-tree", "HEAD", index="index")


def _drop_submodules(store: Store, checkout: Checkout) -> None:
    if checkout.submodules:
        names = b"".join(name + b"\0" for name in checkout.submodules)
        store("update-index", "--force-remove", "-z", "--stdin", index="sent-index", stdin=names)


def _top(path: Path) -> Path:
    if not path.is_dir():
        raise UsageProblem(f"{str(path)!r} is not a directory", hints=["ls -d */"])
    try:
        said = git("rev-parse", "--show-toplevel", cwd=path)
    except BangerError as problem:
        raise UsageProblem(
            f"{path} is not in a git checkout",
            cause=problem.cause,
            hints=["git init", "banger vm cp takes any directory"],
        ) from None
    return Path(said[:-1].decode("utf-8", "surrogateescape"))


def _branch(top: Path) -> str:
    try:
        return git("symbolic-ref", "--quiet", "--short", "HEAD", cwd=top).decode().strip()
    except BangerError:
        return "workspace"


def _submodules(top: Path, commit: str, *, whole: bool) -> tuple[bytes, ...]:
    words = ("ls-tree", "-r", "-z", "--full-tree", commit) if whole else ("ls-files", "-s", "-z")
    listed = [line.partition(b"\t") for line in _names(git(*words, cwd=top))]
    return tuple(name for facts, _, name in listed if facts.startswith(_SUBMODULE))


def _files(top: Path, leave: set[bytes], *, untracked: bool) -> tuple[bytes, ...]:
    known = set(_names(git("ls-files", "-z", cwd=top)))
    known -= set(_names(git("ls-files", "-z", "--deleted", cwd=top)))
    if untracked:
        others = _names(git("ls-files", "-z", "--others", "--exclude-standard", cwd=top))
        # Another repository is listed as a directory
        known |= {name for name in others if not name.endswith(b"/")}
    return tuple(sorted(known - leave))


def _names(listed: bytes) -> list[bytes]:
    return [name for name in listed.split(b"\0") if name]
