"""``banger-bridge-helper OPERATION``, with a JSON object on stdin and one on stdout."""

from __future__ import annotations

import json
import os
import sys

from banger_bridge.helper.capabilities import keep_net_admin
from banger_bridge.helper.checks import Refused
from banger_bridge.helper.operations import OPERATIONS

_LONGEST = 1 << 16


def main() -> None:
    """Give up all other rights, do the one operation, and say how it went."""
    keep_net_admin()
    try:
        answer = _work(sys.argv[1:], sys.stdin.buffer.read(_LONGEST + 1))
    except Refused as problem:
        answer = {
            "refused": problem.kind,
            "summary": problem.summary,
            "cause": problem.cause,
            "hints": problem.hints,
            "missing": problem.missing,
        }
    sys.stdout.write(json.dumps(answer) + "\n")


def _work(arguments: list[str], given: bytes) -> dict[str, object]:
    if len(arguments) != 1 or arguments[0] not in OPERATIONS:
        raise Refused(f"usage: banger-bridge-helper {'|'.join(OPERATIONS)}")
    try:
        asked = json.loads(given) if len(given) <= _LONGEST else None
    except ValueError:
        asked = None
    if not isinstance(asked, dict):
        raise Refused("stdin is not a JSON object")
    # Whoever comes through sudo asks for himself
    caller = os.environ.get("SUDO_UID", "")
    uid = int(caller) if caller.isdecimal() and os.geteuid() == 0 else None
    return OPERATIONS[arguments[0]](asked, uid or None)


if __name__ == "__main__":
    main()
