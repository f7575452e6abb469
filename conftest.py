"""For all tests of this repository: what Hypothesis draws must not depend on the machine's mood."""

from __future__ import annotations

from hypothesis import settings

# The same examples every time, and none is too slow: a busy machine proves nothing about the code
settings.load_profile("ci")
