from __future__ import annotations

import pytest
from firecracker_openapi import problems
from firecracker_parts import firecracker_binary

from banger_core.testing.contracts import tiny_guest
from banger_core.testing.contracts.samples import free_net, sample_plan
from banger_firecracker.driver import FirecrackerDriver
from banger_firecracker.rest import Api


@pytest.fixture(autouse=True)
def requests(monkeypatch):
    """Every request of every test, each judged by the description of the API."""
    seen = []
    send = Api.request

    async def judged(self, method, path, body, **options):
        seen.append((method, path, body))
        assert not problems(method, path, body), (method, path, body)
        return await send(self, method, path, body, **options)

    monkeypatch.setattr(Api, "request", judged)
    return seen


@pytest.fixture
def cx(fake_context):
    """A context with the real Firecracker."""
    fake_context._settings.update(
        firecracker_bin=str(firecracker_binary()), allow_unsafe_version=True
    )
    return fake_context


@pytest.fixture
def driver():
    return FirecrackerDriver()


@pytest.fixture
def dirs(banger_paths):
    return tiny_guest(banger_paths)


@pytest.fixture
def plan():
    return sample_plan(driver="firecracker", net=free_net())


@pytest.fixture
def spec(driver, plan, dirs):
    return driver.launch(plan, dirs, "kvm")


@pytest.fixture
def into(banger_paths):
    """Where a snapshot is written."""
    place = banger_paths.state / "snapshot"
    place.mkdir(parents=True)
    return place
