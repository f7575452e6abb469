"""For tests, ours and those of plugin authors. Nothing of the product imports this."""

from __future__ import annotations
