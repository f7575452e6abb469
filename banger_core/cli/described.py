"""An image's configuration, for people."""

from __future__ import annotations

import shlex
from typing import Any


def described_config(config: dict[str, Any]) -> dict[str, str | list[str]]:
    """Return what an image says about running programs, one name and value after the other.

    Command lines are quoted as a shell wants them; what is not said is ``-``.
    """
    labels = config.get("labels") or {}
    return {
        "env": list(config.get("env") or ()),
        "working_dir": config.get("working_dir") or "-",
        "user": config.get("user") or "-",
        "entrypoint": shlex.join(config.get("entrypoint") or ()) or "-",
        "cmd": shlex.join(config.get("cmd") or ()) or "-",
        "labels": [f"{name}={labels[name]}" for name in sorted(labels)],
    }
