"""How the site is built: ``make docs``."""

from __future__ import annotations

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
