"""The cache's disk fills up while a layer is on its way, although there was room when it was looked
at: somebody else takes what is left between one byte and the next.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace

import pytest
from oci_archives import file, tar
from oci_faulty import closes, reply, serving
from oci_layouts import LayoutMaker, plain

from banger_core.testing.house import House
from banger_core.testing.small_disk import small_disk
from banger_oci.download import MARGIN

PAGE = 4096
LAYER = tar(file(b"random", os.urandom(1 << 20)))
LAYER += bytes(-len(LAYER) % PAGE + 512)
MIDDLE, LAST = len(LAYER) // 2 // PAGE * PAGE, len(LAYER) - 512
"""Where pages begin: what is behind them takes new ones."""

REPOSITORY = "/v2/org/app"
LAYER_URL = f"{REPOSITORY}/blobs/sha256:{hashlib.sha256(LAYER).hexdigest()}"


class Gate:
    """A step of the server: up to a byte, and the rest when it is opened."""

    def __init__(self, server, place):
        self._server, self._place, self._opened = server, place, threading.Event()
        self.asked = ""

    def __call__(self, request):
        self.asked = request.headers.get("range", "")
        head, _, body = self._server.honest(request).partition(b"\r\n\r\n")
        pause = self._place - (len(LAYER) - len(body))
        request.send(head + b"\r\n\r\n" + body[:pause])
        assert self._opened.wait(120)
        request.send(body[pause:])

    def open(self):
        self._opened.set()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A registry that has the image."""
    maker = LayoutMaker(tmp_path_factory.mktemp("images") / "layout")
    manifest = maker.image([plain(LAYER)], media_type="application/vnd.oci.image.layer.v1.tar")
    document = maker.path(manifest["digest"]).read_bytes()
    with serving() as server:
        server.contents = {
            f"{REPOSITORY}/blobs/sha256:{path.name}": path.read_bytes()
            for path in (maker.root / "blobs" / "sha256").iterdir()
        }
        for name in ("1", manifest["digest"]):
            server.contents[f"{REPOSITORY}/manifests/{name}"] = document
        yield server


@pytest.fixture
def disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    place = tmp_path / "disk"
    place.mkdir(mode=0o700)
    with small_disk(place, MARGIN + len(LAYER) + (4 << 20)) as disk:
        yield disk


@pytest.fixture
def cache(disk):
    return disk.place / "cache"


@pytest.fixture
def house(banger_paths, cache, monkeypatch, tmp_path):
    """The cache lies on the small disk, and nothing else does."""
    monkeypatch.setenv("BANGER_CACHE_DIR", str(cache))
    paths = replace(banger_paths, cache=cache)
    house = House(paths, tmp_path / "site", ("banger_oci.plugin",), "")
    house.banger("daemon", "start")
    yield house
    house.close()


def fill(disk):
    """Leave nothing; who still writes meanwhile may take what was to be taken."""
    while disk.free:
        with suppress(OSError):
            disk.leave(0)


def pulling(house, server):
    words = ["image", "pull", f"oci://{server.host}/org/app:1", "--name", "full"]
    return subprocess.Popen(
        [sys.executable, "-m", "banger_core", *words],
        env=house.env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("cut", "place"),
    [(0, 0), (0, PAGE), (0, MIDDLE), (0, LAST), (PAGE + 9, MIDDLE), (MIDDLE, MIDDLE)],
)
def test_full_in_the_middle_of_a_layer(house, server, disk, cache, cut, place):
    """``cut`` is where the connection was lost before, and the download went on."""
    gate = Gate(server, place)
    first = [closes(reply(200, LAYER[:cut], length=len(LAYER), ETag='"one"'))] if cut else []
    server.on(LAYER_URL, *first, gate, server.honest)
    partial = cache / "oci" / "partial" / f"sha256-{LAYER_URL[-64:]}"
    with pulling(house, server) as pull:
        try:
            deadline = time.monotonic() + 120
            while not partial.exists() or partial.stat().st_size < place:
                assert pull.poll() is None, pull.communicate()
                assert time.monotonic() < deadline
                time.sleep(0.02)
            fill(disk)
        finally:
            gate.open()
        _, said = pull.communicate()
    assert pull.returncode == 4, said
    assert gate.asked == (f"bytes={cut}-" if cut else "")
    assert f"error: no space left in {partial.parent}" in said
    assert "cause: No space left on device; the layer takes 2 MiB" in said
    assert f"try:   df -h {cache / 'oci'}\n" in said
    assert "try:   banger image cache prune\n" in said
    # Nothing is wrong: whole is what has a digest for a name, begun what is the layer's beginning
    for blob in (cache / "oci" / "blobs" / "sha256").iterdir():
        assert hashlib.sha256(blob.read_bytes()).hexdigest() == blob.name
    assert not partial.exists() or LAYER.startswith(partial.read_bytes())
    assert house.json("image", "list") == []
    assert not list((house.paths.state / "images").iterdir())

    disk.relieve()
    with pulling(house, server) as pull:
        _, said = pull.communicate()
    assert pull.returncode == 0, said
    assert [image["name"] for image in house.json("image", "list")] == ["full"]
    assert not list(partial.parent.iterdir())
    assert (cache / "oci" / "blobs" / "sha256" / LAYER_URL[-64:]).read_bytes() == LAYER
    assert "Traceback" not in house.log()
