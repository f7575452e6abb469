"""Plugins that are installed for one test only, in a directory that goes on ``PYTHONPATH``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def install_plugin(
    directory: Path,
    name: str,
    *,
    source: str = "",
    module: str = "",
    version: str = "1.0",
    distribution: str = "",
) -> Path:
    """Write a distribution with the plugin ``name`` into ``directory``; return its metadata.

    Either ``source`` is the text of its module, or ``module`` names one that exists.
    ``distribution`` is the name of the plugin where it is not given. Processes with ``directory``
    on their ``PYTHONPATH`` find it as if pip had put it there.
    """
    distribution = distribution or name
    if not module:
        module = re.sub(r"\W", "_", f"{distribution}_{name}_plugin")
        (directory / f"{module}.py").write_text(source)
    metadata = directory / f"{distribution.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
    )
    (metadata / "entry_points.txt").write_text(f"[banger]\n{name} = {module}\n")
    return metadata
