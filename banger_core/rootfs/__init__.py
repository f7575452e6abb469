"""Root file systems: layers are merged in memory and streamed into an ext4 of our own writing."""

from __future__ import annotations
