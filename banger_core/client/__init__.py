"""The daemon's client: synchronous, standard library only, light enough for every start-up."""

from __future__ import annotations
