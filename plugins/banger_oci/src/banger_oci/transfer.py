"""What those who fetch bytes and those who keep them agree on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from banger_core.api import Unreachable

if TYPE_CHECKING:
    from banger_oci.documents import Descriptor


class Cut(Unreachable):
    """The bytes ended too early, or the connection broke: asking for the rest may help."""


class Sink(Protocol):
    """Takes the bytes of one blob. Called from one thread at a time, not always the same."""

    def begin(self, offset: int, validator: str) -> None:
        """Bytes from ``offset`` on will come; 0 means from the beginning, whatever was asked.
        ``validator`` is the strong entity tag for a later ``If-Range`` ("": there is none).
        """

    def write(self, chunk: bytes | memoryview) -> None:
        """Take the next bytes. May raise to end the transfer (too many, no space, cancelled)."""


class Origin(Protocol):
    """Where blobs come from: a registry, a layout or an archive."""

    def __str__(self) -> str:
        """What messages call it: the registry's host and the repository, or the file's path."""

    async def pour(
        self, blob: Descriptor, sink: Sink, *, offset: int = 0, validator: str = ""
    ) -> None:
        """Give the bytes of ``blob`` from ``offset`` on to ``sink``, in one attempt.

        Whoever gave the first bytes gave ``validator``; when the content has another one now, or
        the rest cannot be had alone, it begins at 0. Returns when the source says that is all:
        digest and size are the caller's to verify. Raises Cut when another attempt may get
        further, Unreachable (also for 429 and 5xx after all retries), NotFound and HostileInput.
        """
