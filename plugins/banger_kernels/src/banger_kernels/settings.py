"""The section ``[plugins.feeds]`` of the configuration."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from banger_kernels.keys import parse_key
from banger_kernels.places import place_of

if TYPE_CHECKING:
    from banger_core.api import Context

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("a feed's name is up to 40 lower-case letters, digits and '-'")
    return name


def _key(text: str) -> str:
    text = text.strip()
    if text:
        parse_key(text)
    return text


class Source(BaseModel):
    """One feed: ``url`` of its ``catalog.json`` (https, or a path), and the ``key`` that
    signs it (a minisign public key, an OpenSSH public key, or a line as in ``allowed_signers``).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: Annotated[str, AfterValidator(place_of)]
    key: Annotated[str, AfterValidator(_key)] = ""


class FeedsSettings(BaseModel):
    """``sources``: the feeds by name, asked in the order in which they stand."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: dict[Annotated[str, AfterValidator(_name)], Source] = Field(default_factory=dict)


def settings_of(cx: Context) -> FeedsSettings:
    """Return the plugin's settings, with the defaults for what is not configured."""
    return FeedsSettings.model_validate(dict(cx.settings))
