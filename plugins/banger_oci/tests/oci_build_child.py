"""Builds the root file system that a job describes and says what came of it; run as a program."""

from __future__ import annotations

import json
import resource
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from banger_core.api import BangerError, read_layer
from banger_core.rootfs.build import build_rootfs


@dataclass
class BlobLayer:
    path: str
    digest: str
    diff_id: str

    def entries(self):
        return read_layer(Path(self.path), digest=self.digest, diff_id=self.diff_id)


def peak_memory():
    """Bytes at the most. What getrusage says would count those of the parent, at its fork."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def main():
    job = json.loads(Path(sys.argv[1]).read_text())
    # For the programs that it runs as well
    resource.setrlimit(resource.RLIMIT_AS, (job["memory"], job["memory"]))

    @contextmanager
    def layers():
        yield [BlobLayer(*layer) for layer in job["layers"]]

    said = {}
    try:
        facts = build_rootfs(layers, Path(job["out"]), size=job["size"], identity=b"image")
        said["facts"] = asdict(facts)
    except BangerError as problem:
        said = {
            "error": type(problem).__name__,
            "summary": problem.summary,
            "cause": problem.cause or "",
        }
    said["rss"] = peak_memory()
    json.dump(said, sys.stdout)


if __name__ == "__main__":
    main()
