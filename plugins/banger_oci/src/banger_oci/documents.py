"""Indexes, manifests and image configurations: read from bytes that nobody vouches for.

OCI image specification 1.1 (image-index.md, manifest.md, config.md, descriptor.md) and Docker
image manifest version 2, schema 2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from banger_core.api import ImageConfig

if TYPE_CHECKING:
    from collections.abc import Mapping

DOCUMENT_LIMIT = 4 << 20
"""Longest index, manifest or configuration in bytes, as registries limit them."""


@dataclass(frozen=True, slots=True)
class Platform:
    """``os/architecture[/variant]`` in Go's words."""

    os: str
    architecture: str
    variant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """Points to content: what it is, its digest (checked to be ``sha256:HEX``) and its bytes."""

    media_type: str
    digest: str
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Index:
    """An image index or manifest list: one image for several platforms."""

    media_type: str
    manifests: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image: its configuration and its layers, lowest first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Configuration:
    """An image's configuration blob. ``diff_ids`` are the digests of the uncompressed layers."""

    platform: Platform
    diff_ids: tuple[str, ...]
    image: ImageConfig
