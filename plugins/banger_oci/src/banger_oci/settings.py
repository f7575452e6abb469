"""The section ``[plugins.oci]`` of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from banger_core.api import Context


class OciSettings(BaseModel):
    """Which registries, with whose credentials, and how much is kept.

    ``insecure_registries`` (``HOST[:PORT]``) are asked over plain HTTP; those on loopback need no
    mention. ``token_hosts`` names, for a registry, a further host that may see its credentials
    because it hands out its tokens. ``docker_config`` is the directory that holds Docker's
    ``config.json``. ``parallel`` downloads go on at once; the cache is kept below ``cache_size``
    bytes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    default_registry: str = "docker.io"
    insecure_registries: tuple[str, ...] = ()
    token_hosts: dict[str, str] = Field(default_factory=dict)
    docker_config: Path | None = None
    parallel: int = Field(default=3, ge=1, le=16)
    cache_size: int = Field(default=20 << 30, ge=0)


def settings_of(cx: Context) -> OciSettings:
    """Return the plugin's settings, with the defaults for what is not configured."""
    return OciSettings.model_validate(dict(cx.settings))
