from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from banger_core.model import (
    GuestPin,
    ImagePin,
    ImageRecord,
    KernelPin,
    NetPlan,
    VmPlan,
    VmRecord,
    VmState,
)
from banger_core.store.database import Database
from banger_core.store.records import Records

IMAGE = ImagePin(
    source="debian", ref="debian://bookworm", name="bookworm", digest="d1", architecture="amd64"
)
KERNEL = KernelPin(
    provider="debian", name="k", version="6.1", distro="debian", architecture="amd64", digest="d2"
)
PLAN = VmPlan(
    id="0" * 12,
    name="vm",
    image=IMAGE,
    kernel=KERNEL,
    guest=GuestPin(runtime="debian", digest="d3", architecture="amd64"),
    vcpu=1,
    memory=1 << 28,
    disk_size=1 << 30,
    net=NetPlan(network="user", kind="user"),
    driver="qemu",
    disk_format="raw",
    accel="auto",
    ssh={},
)


@pytest.fixture
def make_vm():
    def make(name: str, vm_id: str, **changes) -> VmRecord:
        plan = replace(PLAN, id=vm_id, name=name)
        values = {"state": VmState.STOPPED, "created_at": 1.0, **changes}
        return VmRecord(plan=plan, **values)

    return make


@pytest.fixture
def make_image():
    def make(name: str, image_id: str, **changes) -> ImageRecord:
        values = {"pin": IMAGE, "created_at": 1.0, **changes}
        return ImageRecord(
            id=image_id,
            name=name,
            kernel=KERNEL,
            directory=Path("/images") / image_id,
            disk_size=1 << 30,
            content_size=1 << 28,
            minimum_size=1 << 29,
            **values,
        )

    return make


@pytest.fixture
def database(tmp_path):
    with Database.open(tmp_path / "banger.db") as opened:
        yield opened


@pytest.fixture
def records(database):
    return Records(database)
