"""What tests have done by another process, to kill it in the middle of it.

python oci_download_child.py fetch ROOT SIZE SEED STALL    fetch, and hang before byte STALL
python oci_download_child.py hold ROOT DIGEST…             hold, and say so
python oci_download_child.py tag ROOT DIGEST SIZE NAME…     name a manifest so, and so, …
Each says ``ready`` when it is there, and goes on after a line of input.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from oci_origins import Memory, blob_of, give, some_bytes

from banger_core.api import in_thread
from banger_oci.blobs import BlobStore
from banger_oci.documents import Descriptor


def _say(word):
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


def _ready():
    _say("ready")
    sys.stdin.readline()


class _Slow(Memory):
    stall = 0

    async def pour(self, blob, sink, *, offset=0, validator=""):
        await in_thread(self._pour, blob, sink, offset)

    def _pour(self, blob, sink, offset):
        data = self.contents[blob.digest]
        sink.begin(offset, self.tag)
        give(self, data, sink, offset, self.stall)
        _ready()
        give(self, data, sink, max(offset, self.stall), len(data))


def fetch(root, size, seed, stall):
    data = some_bytes(int(size), int(seed))
    origin = _Slow(data)
    origin.stall = int(stall)
    asyncio.run(BlobStore(Path(root)).fetch(blob_of(data), origin))
    _say("done")


def hold(root, *digests):
    with BlobStore(Path(root)).hold(digests):
        _ready()


def tag(root, digest, size, *names):
    store = BlobStore(Path(root))
    kind = "application/vnd.oci.image.manifest.v1+json"
    _ready()
    for name in names:
        store.tag(name, Descriptor(media_type=kind, digest=digest, size=int(size)))


if __name__ == "__main__":
    {"fetch": fetch, "hold": hold, "tag": tag}[sys.argv[1]](*sys.argv[2:])
