"""Where the time of ours goes: the parts of a build one after the other, in one thread each."""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from banger_core.rootfs.stream import decompressed, read_file
from banger_core.rootfs.tar import read_tar
from banger_core.rootfs.tree import Tree


def stages_of(layout: Path) -> str:
    """Return seconds of one processor for each part that the layers of an image pass through."""
    layers = [_blob(layout, layer["digest"]) for layer in _manifest(layout)["layers"]]
    unpack = _seconds(lambda layer: _through(decompressed(read_file(layer))), layers)
    hashing = _seconds(_hash, layers) - unpack
    parse = _seconds(lambda layer: _through(_entries(layer)), layers) - unpack
    tree = Tree()

    def merge(layer: Path) -> None:
        tree.begin_layer()
        for entry in _entries(layer):
            tree.apply(entry)

    merging = _seconds(merge, layers) - unpack - parse
    parts = {"decompress": unpack, "hash": hashing, "parse": parse, "merge": merging}
    return ", ".join(f"{name} {max(seconds, 0):.2f}" for name, seconds in parts.items())


def _entries(layer: Path) -> Iterable[Any]:
    return read_tar(decompressed(read_file(layer)), whiteouts=True)


def _through(items: Iterable[object]) -> None:
    deque(items, maxlen=0)


def _hash(layer: Path) -> None:
    found = hashlib.sha256()
    for chunk in decompressed(read_file(layer)):
        found.update(chunk)


def _seconds(work: Any, layers: list[Path]) -> float:
    began = time.process_time()
    for layer in layers:
        work(layer)
    return time.process_time() - began


def _manifest(layout: Path) -> Any:
    index = json.loads((layout / "index.json").read_text())
    return json.loads(_blob(layout, index["manifests"][0]["digest"]).read_text())


def _blob(layout: Path, digest: str) -> Path:
    return layout / "blobs" / "sha256" / digest.removeprefix("sha256:")
