"""A banger that was lived in, whose daemon does not run."""

from __future__ import annotations

import json
import os
import sysconfig

import pytest

from banger_core.config.paths import Paths, secure_dir
from banger_core.store.database import Database
from banger_core.testing.stored import store_names

VMS = ("build", "web", "web-2")
IMAGES = ("debian:bookworm", "debian:trixie", "python:3.12-slim")
RECORDS = {
    "web": {
        "state": "running",
        "started_at": 1700.5,
        "plan": {
            "labels": {"team": "shop", "tier": "front"},
            "net": {
                "forwards": [
                    {"host_port": 2200, "guest_port": 1022, "protocol": "tcp"},
                    {"host_port": 8080, "guest_port": 80, "protocol": "tcp"},
                    {"host_port": 53, "guest_port": 53, "protocol": "udp"},
                ]
            },
        },
    },
    "build": {"state": "stopped", "started_at": 1600.0, "plan": {"labels": {"team": "tools"}}},
}
SNAPSHOTS = [("1", "web", "fresh", 2), ("2", "web", "broken", 1), ("3", "build", "other", 3)]
SESSIONS = {"compile": 1700.5, "old": 1600.5, "watch": 1700.5}
"""Sessions of web, and when the machine began that they were started in."""
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
    with Database.open(paths.database) as database, database.transaction() as connection:
        for vm, record in RECORDS.items():
            connection.execute("UPDATE vms SET record = ? WHERE name = ?", (json.dumps(record), vm))
        for row in SNAPSHOTS:
            connection.execute("INSERT INTO snapshots VALUES (?, ?, ?, ?, '{}')", row)
    for name, began in SESSIONS.items():
        place = secure_dir(paths.vm_state("web") / "sessions") / f"{name}.json"
        place.write_text(json.dumps({"command": ["true"], "machine_began": began}))
    return paths
