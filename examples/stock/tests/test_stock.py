"""The command: its contract's suite, and a banger of its own to list the images of."""

from __future__ import annotations

from banger_core.testing.contracts import CommandContract
from stock.commands import stock


class TestContract(CommandContract):
    make = stock
    name = "stock"


def test_it_lists_images_and_their_machines(banger_daemon):
    house = banger_daemon("stock.plugin")
    assert house.json("stock", "images") == []
    house.banger("vm", "run", "--detach", "--name", "web", "fake://small")
    [image] = house.json("stock", "images")
    assert image["used_by"] == ["web"]
    assert house.banger("stock", "images").splitlines()[0].split() == ["IMAGE", "SIZE", "MACHINES"]
    assert house.json("stock", "images", "--unused") == []
    house.banger("vm", "delete", "--force", "web")
    assert house.json("stock", "images", "--unused") == [{**image, "used_by": []}]
