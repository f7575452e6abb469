"""What this plugin declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger_core.api import DoctorCheck, KernelProvider, Settings, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

BANGER_API = 1


@hookimpl
def banger_kernel_providers() -> Iterable[KernelProvider]:
    """The kernels of this host, and those that signed feeds offer."""
    yield KernelProvider(
        name="catalogue",
        summary="the kernels on this host",
        load="banger_kernels.catalogue:Catalogue",
        catalogue=True,
    )
    yield KernelProvider(
        name="feeds",
        summary="kernels from signed feeds",
        load="banger_kernels.signed:SignedFeeds",
    )


@hookimpl
def banger_doctor_checks() -> Iterable[DoctorCheck]:
    """Whether the kernels on this host can be used."""
    yield DoctorCheck(
        name="kernels",
        summary="the kernels on this host",
        load="banger_kernels.doctor:KernelsCheck",
    )


@hookimpl
def banger_settings() -> Iterable[Settings]:
    """Which feeds there are, and who signs them."""
    yield Settings(
        name="feeds",
        summary="signed feeds of kernels",
        load="banger_kernels.settings:FeedsSettings",
    )
