"""What people see: stdout is data, stderr is talk. The only importers of rich."""

from __future__ import annotations
