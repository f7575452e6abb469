"""Paths in references to images on this host: ``SCHEME://PATH[:WHICH]``."""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.api import HostNotReady, NotFound, UsageProblem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from banger_core.api import ImageRef

_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_SUFFIX = re.compile(r"(\.oci)?\.(tar(\.(gz|zst|xz))?|tgz)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Local:
    """A reference taken apart: ``which`` of the images at ``path`` is meant ("": the only one)."""

    path: Path
    which: str

    @property
    def name(self) -> str:
        """The file's or directory's own name, as far as an image may be called that."""
        base = _SUFFIX.sub("", self.path.name)
        return _NO_NAME.sub("-", base).strip("-._").lower() or "image"


def split_local(ref: ImageRef) -> Local:
    """Take a reference apart.

    Paths may hold colons: the longest beginning that exists is the path. Where none does, the
    last colon behind the last slash separates. Raises UsageProblem when there is no path.
    """
    text = ref.rest
    if not text or text.startswith(":") or "\0" in text:
        raise UsageProblem(
            f"{str(ref)[:100]!r} names no file",
            cause="the form is SCHEME://PATH, or SCHEME://PATH:NAME for one of several images",
            hints=[f"banger image pull {ref.scheme}://./PATH"],
        )
    splits = list(_splits(text))
    for path, which in splits:
        if _exists(path):
            return Local(path, which)
    behind_slash = splits[:2] if ":" in text.rpartition("/")[2] else splits[:1]
    return Local(*behind_slash[-1])


def check_kind(local: Local, ref: ImageRef) -> None:
    """Ask that the path is what the scheme wants: a directory, or a plain file.

    Raises NotFound when nothing is there, UsageProblem for anything else that is.
    """
    directory = ref.scheme == "oci-layout"
    noun = "directory" if directory else "file"
    try:
        mode = local.path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        tried = [str(path) for path, _ in _splits(ref.rest)]
        cause = f"looked for {' and '.join(tried[:4])}"
        hints = [f"ls -l {local.path.parent}"]
        raise NotFound(noun, str(local.path), cause=cause, hints=hints) from None
    except OSError as problem:
        raise unreadable(local.path, problem) from None
    if not (stat.S_ISDIR(mode) if directory else stat.S_ISREG(mode)):
        other = "docker-archive" if directory else "oci-layout"
        swap = stat.S_ISREG(mode) if directory else stat.S_ISDIR(mode)
        raise UsageProblem(
            f"{local.path} is no {noun}",
            cause=f"{ref.scheme}:// takes a {noun}",
            hints=[f"{other}://{ref.rest}"] if swap else [f"ls -l {local.path}"],
        )


def unreadable(path: Path, problem: OSError) -> HostNotReady:
    """Return the error for a file of the user's that cannot be read."""
    return HostNotReady(
        f"{path} cannot be read", cause=problem.strerror or "", hints=[f"ls -l {path}"]
    )


def _splits(text: str) -> Iterator[tuple[Path, str]]:
    """Every way to take ``text`` apart, the longest path first."""
    yield _path(text), ""
    at = len(text)
    while (at := text.rfind(":", 1, at)) > 0:
        yield _path(text[:at]), text[at + 1 :]


def _path(text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        # A home directory of somebody who does not exist: then it is a plain name
        return Path(text).absolute()


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False
