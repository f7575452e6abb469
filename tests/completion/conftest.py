"""A banger that was lived in, whose daemon does not run."""

from __future__ import annotations

import os
import sysconfig

import pytest

from banger_core.config.paths import Paths
from banger_core.testing.stored import store_names

VMS = ("build", "web", "web-2")
IMAGES = ("debian:bookworm", "debian:trixie", "python:3.12-slim")
KERNELS = ("bookworm-cloud", "own-6.12")


@pytest.fixture
def lived_in(tmp_path, monkeypatch):
    """The places of a banger with VMs, images and kernels; no daemon."""
    for place in ("STATE", "CACHE", "CONFIG", "RUNTIME"):
        monkeypatch.setenv(f"BANGER_{place}_DIR", str(tmp_path / place.lower()))
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.chdir(home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PATH", f"{sysconfig.get_path('scripts')}:{os.environ['PATH']}")
    paths = Paths.from_environment()
    store_names(paths, vms=VMS, images=IMAGES, kernels=KERNELS)
    return paths
