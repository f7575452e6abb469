"""What this plugin declares."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger_core.api import DoctorCheck, ImageSource, Settings, hookimpl

if TYPE_CHECKING:
    from collections.abc import Iterable

BANGER_API = 1


@hookimpl
def banger_image_sources() -> Iterable[ImageSource]:
    """Images from registries, and from directories and archives of the same kind."""
    yield ImageSource(
        name="oci",
        summary="Images from OCI registries, OCI layouts and Docker archives",
        load="banger_oci.image:OciImages",
        schemes=("oci", "oci-layout", "docker-archive"),
        path_schemes=("oci-layout", "docker-archive"),
    )


@hookimpl
def banger_settings() -> Iterable[Settings]:
    """Registries, credentials and the size of the cache."""
    yield Settings(
        name="oci",
        summary="registries, credentials and the cache of images",
        load="banger_oci.settings:OciSettings",
    )


@hookimpl
def banger_doctor_checks() -> Iterable[DoctorCheck]:
    """What the host needs for all of the above."""
    yield DoctorCheck(
        name="oci",
        summary="credentials for registries, the cache of images, and unpacking",
        load="banger_oci.doctor:OciCheck",
    )
