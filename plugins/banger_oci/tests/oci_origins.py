"""Origins in memory, honest and otherwise, and the children that download from them."""

from __future__ import annotations

import asyncio
import hashlib
import random
import subprocess
import sys
import threading
from pathlib import Path

from banger_core.api import in_thread
from banger_oci.documents import Descriptor
from banger_oci.transfer import Cut

CHILD = Path(__file__).with_name("oci_download_child.py")
LAYER = "application/vnd.oci.image.layer.v1.tar"


def some_bytes(size, seed=0):
    return random.Random(seed).randbytes(size)


def blob_of(data, media_type=LAYER):
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return Descriptor(media_type=media_type, digest=digest, size=len(data))


class Memory:
    """Serves ``contents``. ``faults`` are taken one by one, one for each attempt, then it is
    honest; ``asked`` are the offsets and validators.
    """

    def __init__(self, *contents, faults=(), chunk=1 << 16, tag='"1"', called="memory.test"):
        self.contents = {blob_of(data).digest: data for data in contents}
        self.faults, self.chunk, self.tag, self.called = list(faults), chunk, tag, called
        self.asked, self.at_once, self.most_at_once = [], 0, 0
        self.order = []

    def __str__(self):
        return self.called

    async def pour(self, blob, sink, *, offset=0, validator=""):
        self.asked.append((offset, validator))
        self.order.append(blob.digest)
        fault = self.faults.pop(0) if self.faults else honest
        stopped = threading.Event()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            arguments = (self, self.contents[blob.digest], sink, offset, validator, stopped)
            await in_thread(fault, *arguments, on_cancel=stopped.set)
        finally:
            self.at_once -= 1

    @property
    def offsets(self):
        return [offset for offset, _ in self.asked]


def give(origin, data, sink, start, end):
    for at in range(start, end, origin.chunk):
        sink.write(data[at : min(end, at + origin.chunk)])


def honest(origin, data, sink, offset, validator, stopped):
    start = offset if validator in ("", origin.tag) else 0
    sink.begin(start, origin.tag)
    give(origin, data, sink, start, len(data))


def cut_at(place, error=Cut):
    """Gives what it was asked for, up to a byte of the blob."""

    def fault(origin, data, sink, offset, validator, stopped):
        start = offset if validator in ("", origin.tag) else 0
        sink.begin(start, origin.tag)
        give(origin, data, sink, start, place)
        raise error("the line broke")

    return fault


def refused(origin, data, sink, offset, validator, stopped):
    raise Cut("no connection")


def from_the_beginning(origin, data, sink, offset, validator, stopped):
    sink.begin(0, origin.tag)
    give(origin, data, sink, 0, len(data))


def other_bytes(wrong, start=None):
    """Says it goes on where it was asked to, and gives something else."""

    def fault(origin, data, sink, offset, validator, stopped):
        sink.begin(offset if start is None else start, origin.tag)
        give(origin, wrong, sink, 0, len(wrong))

    return fault


class Stall:
    """Gives the bytes up to ``place``, then nothing until ``go`` is set or it is stopped."""

    def __init__(self, place):
        self.place, self.reached, self.go = place, threading.Event(), threading.Event()

    def __call__(self, origin, data, sink, offset, validator, stopped):
        start = offset if validator in ("", origin.tag) else 0
        sink.begin(start, origin.tag)
        give(origin, data, sink, start, self.place)
        self.reached.set()
        while not self.go.wait(0.01):
            if stopped.is_set():
                raise Cut("stopped")
        give(origin, data, sink, self.place, len(data))


async def until(true, seconds=90):
    """Wait until ``true()`` is."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - what is waited for may be in a thread or a file
            await asyncio.sleep(0.005)


def child(task, *arguments):
    """A process that does one of the tasks of ``oci_download_child``; it speaks line by line."""
    command = [sys.executable, str(CHILD), task, *map(str, arguments)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )


def end(process):
    """Kill it as hard as possible."""
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()
