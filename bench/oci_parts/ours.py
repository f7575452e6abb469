"""One pull and build by the plugin, in a process of its own, as the daemon would do it.

    python ours.py REFERENCE CACHE IMAGE.ext4     prints what it took, as JSON

The clock starts after the imports, for the daemon has them done; memory counts them.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
import time
from pathlib import Path

from banger_core.api import ImagePin, ImageRef
from banger_core.rootfs.build import build_rootfs
from banger_core.testing.context import FakeContext
from banger_oci.image import OciImages

SIZE = 8 << 30


async def pull(source: OciImages, reference: str, context: FakeContext) -> ImagePin:
    pin = await source.resolve(ImageRef.parse(f"oci://{reference}"), context)
    await source.fetch(pin, context)
    return pin


def cpu() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def peak() -> float:
    """MiB at the most, of this program or one that it ran. What getrusage says of this one would
    count the memory of its parent, at its fork.
    """
    status = Path("/proc/self/status").read_text()
    own = int(status.partition("VmHWM:")[2].split()[0])
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


def main() -> None:
    reference, cache, image = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    source, context = OciImages(), FakeContext(cache)
    sealing = 0.0

    def progress(what: str, _done: int, _total: int) -> None:
        nonlocal sealing
        if what.startswith("checking"):
            sealing = time.perf_counter()

    began, used = time.perf_counter(), cpu()
    pin = asyncio.run(pull(source, reference, context))
    pulled = time.perf_counter()
    facts = build_rootfs(
        lambda: source.layers(pin, context),
        image,
        size=SIZE,
        identity=pin.digest.encode(),
        work_seed=image.with_name("work-seed.ext4"),
        progress=progress,
    )
    ended = time.perf_counter()
    said = {
        "wall": ended - began,
        "cpu": cpu() - used,
        "peak": peak(),
        "pull": pulled - began,
        "write": sealing - pulled,
        "seal": ended - sealing,
        "inodes": facts.inodes,
    }
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
