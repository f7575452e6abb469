"""A pull from a real registry onto a disk that is full at one place after the other. The cache lies
elsewhere: what is downloaded must fit, with a margin, before anything is.
"""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from dataclasses import replace

import pytest
from oci_archives import file, tar
from oci_layouts import LayoutMaker, plain
from oci_registries import Server

from banger_core.client.client import Client, url
from banger_core.client.operations import Operation
from banger_core.errors import NoSpace
from banger_core.testing.house import House
from banger_core.testing.ledger import Ledger, take
from banger_core.testing.small_disk import small_disk

DISK = 32 << 20
STEPS = 9


@pytest.fixture
def reference(tmp_path):
    """An image with two layers that cannot be packed, of a mebibyte together."""
    maker = LayoutMaker(tmp_path / "images")
    blobs = [plain(tar(file(name, os.urandom(1 << 19)))) for name in (b"one", b"two")]
    maker.add(maker.image(blobs, media_type="application/vnd.oci.image.layer.v1.tar"), "1")
    server = Server(tmp_path / "registry")
    try:
        server.push(maker.root, "1", "full:1")
        yield f"oci://{server.host}/full:1"
    finally:
        server.stop()


@pytest.fixture
def disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    place = tmp_path / "disk"
    place.mkdir(mode=0o700)
    with small_disk(place, DISK) as disk:
        yield disk


@pytest.fixture
def paths(banger_paths, disk, monkeypatch):
    """The state lies on the small disk."""
    state = disk.place / "state"
    monkeypatch.setenv("BANGER_STATE_DIR", str(state))
    return replace(banger_paths, state=state)


@pytest.fixture
def pull(paths, tmp_path, reference):
    """A function that pulls the image as if nothing of it were in the cache."""
    house = House(paths, tmp_path / "site", ("banger_oci.plugin",), "")
    house.banger("daemon", "start")

    def pull():
        shutil.rmtree(paths.cache / "oci", ignore_errors=True)
        body = {"ref": reference, "name": "full"}
        return Operation(Client(paths.socket), "POST", url("images", "pull"), body).follow(
            lambda _: None
        )

    yield pull
    house.close()


def delete(paths):
    Operation(Client(paths.socket), "DELETE", url("images", "full")).follow(lambda _: None)


def kept(paths):
    """All that is there, without what may lie in the cache: whole blobs, its index, and for a while
    the hold on what was fetched for nothing.
    """
    found = take(paths).without("fd")
    whole = tuple(str(paths.cache / "oci" / name) for name in ("blobs", "index.json", "holds"))
    there = {
        entry: count
        for entry, count in found.entries.items()
        if entry[0] != "file" or not entry[1].startswith(whole)
    }
    return Ledger(Counter(there))


def settled(paths, before):
    deadline = time.monotonic() + 90
    while left := kept(paths).since(before):
        assert time.monotonic() < deadline, "\n".join(left)
        time.sleep(0.1)


def test_full_at_every_place(paths, disk, pull):
    pull()
    delete(paths)
    before, free = kept(paths), disk.free
    pull()
    wanted = free - disk.free
    delete(paths)
    failed = []
    step = wanted // STEPS // disk.grain * disk.grain
    for amount in range(0, DISK, step):
        disk.leave(amount)
        try:
            pull()
        except NoSpace as problem:
            failed.append(problem)
        else:
            delete(paths)
            break
        finally:
            disk.relieve()
        settled(paths, before)
    assert len(failed) > STEPS // 2
    assert all(each.summary.startswith("no space left") and each.hints for each in failed)
    pull()
    delete(paths)
    settled(paths, before)
