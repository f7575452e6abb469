"""The section ``[plugins.oci]`` of the configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from banger_core.api import UsageProblem, parse_size
from banger_oci.reference import parse_reference

if TYPE_CHECKING:
    from banger_core.api import Context


def _registry(text: str) -> str:
    if "/" in text or "@" in text:
        raise ValueError("give HOST or HOST:PORT, without scheme, user and path")
    try:
        found = parse_reference(f"{text}/name")
    except UsageProblem as problem:
        raise ValueError(f"give HOST or HOST:PORT: {problem.cause}") from None
    if found.repository.removeprefix("library/") != "name":
        raise ValueError("a registry has a dot or a port in its name, or is localhost")
    return found.registry


def _bytes(value: object) -> object:
    if not isinstance(value, str) or value.strip() == "0":
        return 0 if isinstance(value, str) else value
    try:
        return parse_size(value)
    except UsageProblem as problem:
        raise ValueError(problem.cause) from None


def _directory(value: object) -> object:
    if not isinstance(value, str):
        return value
    path = Path(value).expanduser()
    if not path.is_absolute():
        raise ValueError("give an absolute path, or one that begins with ~")
    if path.name == "config.json":
        raise ValueError("give the directory that holds config.json")
    return path


RegistryHost = Annotated[str, AfterValidator(_registry)]
"""``HOST[:PORT]``, as references write it."""


class OciSettings(BaseModel):
    """Which registries, with whose credentials, and how much is kept.

    ``insecure_registries`` (``HOST[:PORT]``) are asked over plain HTTP; those on loopback need no
    mention. ``token_hosts`` names, for a registry, a further host that may see its credentials
    because it hands out its tokens. ``docker_config`` is the directory that holds Docker's
    ``config.json``. ``parallel`` downloads go on at once; the cache is kept below ``cache_size``
    bytes (0: only what is in use), which can be written like ``20G``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    insecure_registries: tuple[RegistryHost, ...] = ()
    token_hosts: dict[RegistryHost, RegistryHost] = Field(default_factory=dict)
    docker_config: Annotated[Path | None, BeforeValidator(_directory)] = None
    parallel: int = Field(default=3, ge=1, le=16, strict=True)
    cache_size: Annotated[int, BeforeValidator(_bytes), Field(ge=0, strict=True)] = 20 << 30


def settings_of(cx: Context) -> OciSettings:
    """Return the plugin's settings, with the defaults for what is not configured."""
    return OciSettings.model_validate(dict(cx.settings))
