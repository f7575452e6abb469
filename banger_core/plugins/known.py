"""Image sources that people ask for before they have them, and how to get those."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from typing import TYPE_CHECKING

from banger_core.plugins.installer import install_words

if TYPE_CHECKING:
    from banger_core.plugins.record import PluginRecord

DISTRIBUTIONS = {
    "oci": "banger-oci",
    "oci-layout": "banger-oci",
    "docker-archive": "banger-oci",
    "debian": "banger-debian",
}
"""Which distribution brings a scheme, or a source of that name."""

MISTAKEN = {"docker": "oci", "http": "oci", "https": "oci", "oci-archive": "docker-archive"}
"""Schemes that other tools use, or that were pasted along, and which is meant here."""


def install_advice(scheme: str, installed: Iterable[PluginRecord]) -> list[str]:
    """Say how to come by the image source of ``scheme``; nothing when nobody knows one.

    ``installed`` are the plugins there are: one that is there but cannot be used says why.
    """
    if meant := MISTAKEN.get(scheme):
        return [f"did you mean {meant}://…?"]
    distribution = DISTRIBUTIONS.get(scheme)
    if distribution is None:
        return []
    for plugin in installed:
        if plugin.distribution == distribution and plugin.status != "ok":
            return [_obstacle(plugin)]
    # A daemon that runs knows the plugins that were there when it began
    return [f"{shlex.join(install_words([distribution]))} && banger daemon stop"]


def _obstacle(plugin: PluginRecord) -> str:
    if plugin.status == "disabled":
        return (
            f"{plugin.label} is installed, but {plugin.error}: change that, then banger daemon stop"
        )
    return f"mend {plugin.label}, which is {plugin.status}: {plugin.error[:200]}"
