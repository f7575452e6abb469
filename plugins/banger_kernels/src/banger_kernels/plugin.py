"""What this plugin declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger_core.api import KernelProvider, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

BANGER_API = 1


@hookimpl
def banger_kernel_providers() -> Iterable[KernelProvider]:
    """The kernels of this host."""
    yield KernelProvider(
        name="catalogue",
        summary="the kernels on this host",
        load="banger_kernels.catalogue:Catalogue",
        catalogue=True,
    )
