from __future__ import annotations

import asyncio
import hashlib
import json
import random
from pathlib import Path

import pytest
from oci_origins import Memory, blob_of, child, end, some_bytes

from banger_oci import partial
from banger_oci.blobs import BlobStore


def whole(root):
    """Whether ``root`` is an OCI layout whose blobs are all what they are called."""
    assert json.loads((root / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((root / "index.json").read_text())
    assert index["schemaVersion"] == 2
    assert isinstance(index["manifests"], list)
    for path in (root / "blobs" / "sha256").glob("[0-9a-f]*"):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    return True


@pytest.mark.parametrize("place", [0, 1, 65_535, 65_536, 299_999])
def test_a_process_killed_at_any_byte_leaves_what_the_next_one_goes_on_with(tmp_path, place):
    data = some_bytes(300_000)
    process = child("fetch", tmp_path, len(data), 0, place)
    try:
        assert process.stdout.readline() == "ready\n"
    finally:
        end(process)
    assert whole(tmp_path)
    store, origin = BlobStore(tmp_path), Memory(data)
    assert not store.has(blob_of(data))
    asyncio.run(store.fetch(blob_of(data), origin))
    assert origin.offsets == [place]
    assert whole(tmp_path)
    assert list(store.partials.iterdir()) == []


def test_a_process_killed_at_random_leaves_a_cache_that_is_right(tmp_path):
    data, luck = some_bytes(40 << 20, 3), random.Random(3)
    blob = blob_of(data)
    resumed = []
    for round_ in range(5):
        root = tmp_path / str(round_)
        # Up to there it waits for us, beyond it does not
        process = child("fetch", root, len(data), 3, luck.randrange(1, len(data)))
        try:
            assert process.stdout.readline() == "ready\n"
            if round_:
                process.stdin.write("go\n")
        finally:
            end(process)
        assert whole(root)
        origin = Memory(data, chunk=1 << 20)
        asyncio.run(BlobStore(root).fetch(blob, origin))
        resumed += origin.offsets
        assert whole(root)
    assert any(0 < offset < len(data) for offset in resumed)


def test_the_validator_survives_the_process_once_enough_has_come(tmp_path, monkeypatch):
    data = some_bytes(partial.STEP + 100)
    process = child("fetch", tmp_path, len(data), 0, partial.STEP + 10)
    try:
        assert process.stdout.readline() == "ready\n"
    finally:
        end(process)
    origin = Memory(data)
    asyncio.run(BlobStore(tmp_path).fetch(blob_of(data), origin))
    assert origin.asked == [(partial.STEP + 10, '"1"')]


class Crash(Exception):
    """The process ended here."""


def test_a_prune_that_ends_anywhere_leaves_a_cache_that_is_right(tmp_path, monkeypatch):
    contents = [some_bytes(100, seed) for seed in range(6)]
    unlink = Path.unlink
    for last in range(20):
        root = tmp_path / str(last)
        store = BlobStore(root)
        for data in contents:
            store.keep(data, blob_of(data).digest)
            store.tag(f"t{data[0]}", blob_of(data))
        left = [last]

        def crash(path, missing_ok=False, left=left):
            if not left[0]:
                raise Crash
            left[0] -= 1
            unlink(path, missing_ok=missing_ok)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", crash)
            try:
                store.prune(0)
                finished = True
            except Crash:
                finished = False
        assert whole(root)
        # Nothing is locked for ever, and the next one finishes
        BlobStore(root).prune(0)
        assert list(store.blobs.iterdir()) == []
        assert json.loads((root / "index.json").read_text())["manifests"] == []
        if finished:
            break
    assert last > 3
