"""Pulls that are killed, and several processes at once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from kernels_feeds import ELF, catalog, entry, settings, tarball

from banger_core.testing.context import FakeContext
from banger_kernels.catalogue import Catalogue

BIG = tarball(("vmlinux", ELF + os.urandom(3 << 20)), ("modules/kernel/a.ko", b"module"))

PULL = """
import asyncio, json, sys, tempfile
from pathlib import Path
from banger_core.api import Conflict
from banger_core.testing.context import FakeContext
from banger_kernels.catalogue import Catalogue
from banger_kernels.signed import SignedFeeds

async def pull(root, settings):
    cx = FakeContext(Path(root), json.loads(settings))
    pin = await SignedFeeds().resolve("mine", cx)
    with tempfile.TemporaryDirectory(dir=root) as into:
        files = await SignedFeeds().materialise(pin, Path(into), cx)
        try:
            await Catalogue().add(pin, files, cx, replace="replace" in sys.argv)
        except Conflict:
            print("taken")
        else:
            print("kept")

asyncio.run(pull(*sys.argv[1:3]))
"""


@pytest.fixture
def start(site, tmp_path):
    """A function that starts another process that pulls ``mine``."""
    running = []

    def start(*words):
        argv = [sys.executable, "-c", PULL, str(tmp_path), json.dumps(settings(site.url)), *words]
        running.append(subprocess.Popen(argv, stdout=subprocess.PIPE, text=True))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def until(condition):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.0005)


def whole(cx):
    (row,) = asyncio.run(Catalogue().available(cx))
    assert not row.problem
    assert asyncio.run(Catalogue().verify("mine", cx)) == []
    return row


def test_two_processes_add_one_name_and_one_of_them_wins(site, start, tmp_path):
    site.publish(catalog(entry(BIG)), BIG)
    said = sorted(process.communicate(timeout=200)[0].strip() for process in (start(), start()))
    assert said == ["kept", "taken"]
    whole(FakeContext(tmp_path))


@pytest.mark.parametrize("moment", ["partial/*.partial", "sha256/*", "tmp*/vmlinux", ".new-*"])
def test_a_killed_pull_leaves_the_old_kernel_and_the_next_one_works(site, start, tmp_path, moment):
    site.publish(catalog(entry()))
    assert start().communicate(timeout=200)[0] == "kept\n"
    before = whole(FakeContext(tmp_path))
    site.publish(catalog(entry(BIG, kernel_version="6.10")), BIG)
    places = [tmp_path, tmp_path / "cache", tmp_path / "kernels"]
    process = start("replace")
    # A moment that is over before it was seen is one more moment to be killed in
    until(lambda: process.poll() is not None or any(any(at.glob(moment)) for at in places))
    process.send_signal(signal.SIGKILL)
    process.wait()
    after = whole(FakeContext(tmp_path))
    assert after.version in (before.version, "6.10")
    assert start("replace").communicate(timeout=200)[0] == "kept\n"
    assert whole(FakeContext(tmp_path)).version == "6.10"
    left = {path.name for path in (tmp_path / "kernels").iterdir()}
    assert left == {"mine", ".lock"}
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
