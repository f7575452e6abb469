"""The command line: one file per noun, each imported when its noun is typed."""

from __future__ import annotations
