"""JSON for programs."""

from __future__ import annotations

import json
import sys
from typing import Any


def show_json(value: Any) -> None:
    """Write ``value`` to stdout as one indented JSON document in ASCII."""
    sys.stdout.write(json.dumps(value, indent=2) + "\n")
