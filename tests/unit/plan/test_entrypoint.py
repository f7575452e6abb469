from __future__ import annotations

import pytest

from banger_core.errors import UsageProblem
from banger_core.model import ImageConfig, ImagePin, VmRequest
from banger_core.plan.entrypoint import check_entrypoint


def pin(**config: tuple[str, ...]) -> ImagePin:
    return ImagePin(
        source="t",
        ref="t",
        name="tool:1",
        digest="d",
        architecture="amd64",
        config=ImageConfig(**config),
    )


@pytest.mark.parametrize("config", [{"entrypoint": ("/e",)}, {"cmd": ("c",)}])
def test_an_entry_point_or_a_command_is_a_program(config):
    check_entrypoint(VmRequest(entrypoint=True), pin(**config))


def test_an_image_without_either_has_none():
    with pytest.raises(UsageProblem, match="tool:1 names no program") as caught:
        check_entrypoint(VmRequest(entrypoint=True), pin())
    assert caught.value.hints == ("banger vm run tool:1 -- COMMAND",)


def test_nobody_else_needs_one():
    check_entrypoint(VmRequest(), pin())
