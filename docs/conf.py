"""How the site is built: ``make docs``."""

from __future__ import annotations

from pathlib import Path

from banger_core.scaffold.kinds import TEMPLATES
from banger_core.scaffold.render import render

project = "banger"
author = "The banger authors"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "banger"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
exclude_patterns = ["README.md"]
myst_heading_anchors = 4
suppress_warnings = ["misc.highlighting_failure"]

SAMPLES = Path(__file__).parents[1] / "build" / "samples"
"""What ``banger plugin new`` writes: the code on the pages of ``hooks``."""

for kind in TEMPLATES:
    for name, text in render(kind, "acme").items():
        file = SAMPLES / kind / name
        file.parent.mkdir(parents=True, exist_ok=True)
        # A file that stays as it is keeps its time: only pages that changed are built again
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
