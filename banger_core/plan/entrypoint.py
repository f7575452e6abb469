"""The image's own program: whether there is one is known before anything is made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger_core.errors import UsageProblem

if TYPE_CHECKING:
    from banger_core.model import ImagePin, VmRequest


def check_entrypoint(request: VmRequest, image: ImagePin) -> None:
    """Raise UsageProblem when the image's own program is to be run and it names none."""
    if request.entrypoint and not (image.config.entrypoint or image.config.cmd):
        raise UsageProblem(
            f"the image {image.name} names no program of its own",
            cause="its configuration has neither an entry point nor a command",
            hints=[f"banger vm run {image.name} -- COMMAND"],
        )
