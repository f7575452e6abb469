"""``oci-layout://DIR[:TAG]``: images in a directory (OCI image specification, image-layout.md).

Nobody vouches for what lies in the directory. Files are opened one name at a time below it, never
through a link, and only plain ones.
"""

from __future__ import annotations

import os
import stat
import threading
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from banger_core.api import (
    HostileInput,
    NotFound,
    UsageProblem,
    blob_path,
    in_thread,
)
from banger_oci.documents import DOCUMENT_LIMIT, Descriptor, Index, parse_document
from banger_oci.local import unreadable
from banger_oci.mediatypes import OCI_INDEX
from banger_oci.platforms import choose
from banger_oci.transfer import Cut

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from banger_oci.platforms import Platform
    from banger_oci.transfer import Sink

REF_NAME = "org.opencontainers.image.ref.name"
"""The annotation in ``index.json`` that holds an image's tag."""

_CHUNK = 1 << 20
_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFDIR: "a directory",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Layout:
    """The images in one directory; an ``Origin`` of their blobs."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def __str__(self) -> str:
        return str(self._root)

    def find(self, tag: str, platform: Platform) -> Descriptor:
        """Return what ``index.json`` says about the image called ``tag``.

        Without a tag it is the only image, or the only one for ``platform``. Raises NotFound
        with the tags that there are.
        """
        data = self._small("index.json")
        if data is None:
            raise UsageProblem(
                f"{self._root} is no OCI layout",
                cause="it has no index.json",
                hints=["skopeo copy docker://REF oci:DIR:TAG makes one"],
            )
        index = parse_document(data, OCI_INDEX)
        if not isinstance(index, Index):
            raise HostileInput(f"{self._root}/index.json is no index")
        return select(index, tag, platform, f"oci-layout://{self._root}")

    def document(self, blob: Descriptor) -> bytes:
        """Return an index, manifest or configuration, which the caller verifies. Raises
        NotFound when it is not there.
        """
        data = self._small(*_parts(blob.digest))
        if data is None:
            raise _absent(self._root, blob)
        return data

    async def pour(
        self, blob: Descriptor, sink: Sink, *, offset: int = 0, validator: str = ""
    ) -> None:
        """Give the bytes of a blob; see ``transfer.Origin``."""
        stop = threading.Event()
        await in_thread(self._pour, blob, sink, offset, validator, stop, on_cancel=stop.set)

    def _pour(
        self, blob: Descriptor, sink: Sink, offset: int, validator: str, stop: threading.Event
    ) -> None:
        with self._open(*_parts(blob.digest)) as file:
            if file is None:
                raise _absent(self._root, blob)
            facts = os.fstat(file.fileno())
            version = f'"{facts.st_dev}-{facts.st_ino}-{facts.st_size}-{facts.st_mtime_ns}"'
            start = offset if validator == version else 0
            file.seek(start)
            sink.begin(start, version)
            while not stop.is_set() and (chunk := self._read(file)):
                sink.write(chunk)

    def _read(self, file: IO[bytes]) -> bytes:
        try:
            return file.read(_CHUNK)
        except OSError as problem:
            raise Cut(f"{self._root} cannot be read", cause=problem.strerror or "") from None

    def _small(self, *names: str) -> bytes | None:
        """Return the content of a small file, None when there is none."""
        with self._open(*names) as file:
            if file is None:
                return None
            data = file.read(DOCUMENT_LIMIT + 1)
        if len(data) > DOCUMENT_LIMIT:
            raise HostileInput(
                f"{'/'.join(names)} in {self._root} is too long",
                cause=f"at most {DOCUMENT_LIMIT} bytes are read",
            )
        return data

    @contextmanager
    def _open(self, *names: str) -> Iterator[IO[bytes] | None]:
        try:
            handle = _open_below(self._root, names)
        except (FileNotFoundError, NotADirectoryError):
            yield None
            return
        except OSError as problem:
            raise unreadable(self._root.joinpath(*names), problem) from None
        with closing(os.fdopen(handle, "rb", buffering=0)) as file:
            yield file


def select(index: Index, tag: str, platform: Platform, where: str) -> Descriptor:
    """Return the entry of a layout's index that ``tag`` names; ``where`` is for messages.

    Several that differ only in their platform are one image. Raises NotFound when there is none,
    UsageProblem when it is not clear which.
    """
    known = sorted({one.annotations.get(REF_NAME, "") for one in index.manifests} - {""})
    meant = [one for one in index.manifests if tag in ("", one.annotations.get(REF_NAME, ""))]
    if len(meant) == 1:
        return meant[0]
    if not index.manifests:
        raise UsageProblem(
            f"{where} holds no image",
            cause="its index.json lists nothing",
            hints=["skopeo copy docker://REF oci:DIR:TAG puts one there"],
        )
    if not meant:
        raise NotFound("image", tag, known, hints=[f"{where}:{name}" for name in known[:1]])
    if (tag or len(known) < 2) and all(one.platform for one in meant):
        return choose(Index(index.media_type, tuple(meant)), platform)
    if tag or not known:
        raise UsageProblem(
            f"{where} holds {len(meant)} images {f'named {tag!r}' if tag else 'without a name'}",
            cause="nothing tells them apart",
            hints=["skopeo copy the one that is meant into a layout of its own"],
        )
    raise UsageProblem(
        f"{where} holds {len(meant)} images: which one?",
        cause=f"there is: {', '.join(repr(name)[1:-1][:60] for name in known[:8])}",
        hints=[f"{where}:{known[0]}"],
    )


def _parts(digest: str) -> tuple[str, ...]:
    """``blobs``, ``sha256``, ``HEX``. Raises IntegrityError for what is no digest."""
    return blob_path(Path("blobs"), digest).parts


def _absent(root: Path, blob: Descriptor) -> NotFound:
    problem = NotFound("blob", blob.digest, hints=["make the layout again with skopeo copy"])
    problem.cause = f"{root} is not complete"
    return problem


def _open_below(root: Path, names: tuple[str, ...]) -> int:
    """Open a plain file below ``root``, name by name, following no link.

    Raises HostileInput for a link, a device or anything else that is no plain file.
    """
    directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names[:-1]:
            _check(root, name, os.lstat(name, dir_fd=directory), stat.S_ISDIR)
            below = os.open(name, _DIRECTORY, dir_fd=directory)
            os.close(directory)
            directory = below
        # Opening a device or a FIFO may already do something: look first, and again at what came
        _check(root, names[-1], os.lstat(names[-1], dir_fd=directory), stat.S_ISREG)
        handle = os.open(names[-1], _FILE, dir_fd=directory)
    finally:
        os.close(directory)
    try:
        _check(root, names[-1], os.fstat(handle), stat.S_ISREG)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _check(root: Path, name: str, facts: os.stat_result, wanted: Callable[[int], bool]) -> None:
    if not wanted(facts.st_mode):
        raise HostileInput(
            f"{root} is no layout that can be trusted",
            cause=f"{name} is {_KINDS.get(stat.S_IFMT(facts.st_mode), 'no plain file')}",
            hints=["copy it with its links resolved: cp -rL"],
        )
