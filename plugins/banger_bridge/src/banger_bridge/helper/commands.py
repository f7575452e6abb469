"""Running ``ip`` and ``nft``, whichever fails saying so."""

from __future__ import annotations

import json
import subprocess
from typing import Any

from banger_bridge.helper.checks import Refused

_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_LIMIT = 20.0


def run(*argv: str, stdin: str = "") -> str:
    """Run a program to its end and return its stdout. Raises Refused with its last words."""
    try:
        done = subprocess.run(
            argv,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_LIMIT,
            check=False,
            env={"PATH": _PATH, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise Refused(
            f"{argv[0]} is not installed",
            cause=f"it is not in {_PATH}",
            kind="host",
            missing=argv[0],
        ) from None
    except subprocess.TimeoutExpired:
        raise Refused(f"{argv[0]} took longer than {_LIMIT:g} s", kind="host") from None
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip(" ^~")]
        raise Refused(
            f"{' '.join(argv)} failed", cause=said[0] if said else "it said nothing", kind="host"
        )
    return done.stdout


def ip_json(*words: str) -> list[dict[str, Any]]:
    """Return what ``ip -json`` says."""
    found = json.loads(run("ip", "-json", *words) or "[]")
    return [each for each in found if each]


def ip_batch(lines: list[str]) -> None:
    """Have ``ip`` do several things in turn."""
    if lines:
        run("ip", "-batch", "-", stdin="\n".join(lines) + "\n")


def apply(rules: str) -> None:
    """Have nftables do everything in ``rules``, or nothing."""
    run("nft", "-f", "-", stdin=rules)
