"""What this plugin declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger_core.api import (
    DoctorCheck,
    GuestRuntime,
    ImageSource,
    KernelProvider,
    Settings,
    hookimpl,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

BANGER_API = 1


@hookimpl
def banger_image_sources() -> Iterable[ImageSource]:
    """Root file systems that mmdebstrap makes from the archive."""
    yield ImageSource(
        name="debian",
        summary="Debian, made from the signed archive with mmdebstrap",
        load="banger_debian.image:DebianImages",
        schemes=("debian",),
        requires=("bin:mmdebstrap", "bin:gpgv"),
    )


@hookimpl
def banger_kernel_providers() -> Iterable[KernelProvider]:
    """Debian's own kernels."""
    yield KernelProvider(
        name="debian",
        summary="Debian's kernels, from the signed archive",
        load="banger_debian.kernels:DebianKernels",
        requires=("bin:gpgv",),
    )


@hookimpl
def banger_guest_runtimes() -> Iterable[GuestRuntime]:
    """Busybox, dropbear and OpenSSH's file transfer, as Debian builds them."""
    yield GuestRuntime(
        name="debian",
        summary="busybox, dropbear and sftp from the signed Debian archive",
        load="banger_debian.guest:DebianGuest",
        requires=("bin:gpgv",),
    )


@hookimpl
def banger_settings() -> Iterable[Settings]:
    """Mirrors, keyring and further packages."""
    yield Settings(
        name="debian",
        summary="mirrors and keyring of the Debian archive",
        load="banger_debian.settings:DebianSettings",
    )


@hookimpl
def banger_doctor_checks() -> Iterable[DoctorCheck]:
    """What the host needs for all of the above."""
    yield DoctorCheck(
        name="debian",
        summary="tools, keyring and user namespaces for the Debian archive",
        load="banger_debian.doctor:DebianCheck",
    )
