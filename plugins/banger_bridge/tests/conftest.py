from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from bridge_space import Host

from banger_bridge.helper import operations


@pytest.fixture
def host() -> Iterator[Host]:
    """This test runs on a host of its own: in a namespace."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces with a bridge take root")
    one = Host()
    with one.inside():
        yield one
    one.close()


@pytest.fixture
def do():
    """Do an operation of the helper's, in this process."""

    def run(operation, asked, caller=None):
        return operations.OPERATIONS[operation](asked, caller)

    return run
