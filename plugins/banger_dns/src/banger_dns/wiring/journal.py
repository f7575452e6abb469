"""What was changed, written down before it is changed, so that it can be undone after a crash."""

from __future__ import annotations

import base64
import json
import shlex
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from banger_core.api import BangerError, write_atomic
from banger_dns.wiring.hands import Content, Hands

JOURNAL = "wiring.json"
"""The file's name in the plugin's state directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One file that becomes another, or a directory that is made. ``before`` is None where there
    was nothing, ``after`` None for a directory.
    """

    path: str
    before: Content | None = None
    after: bytes | None = None

    def apply(self, hands: Hands) -> None:
        """Do it."""
        if self.after is None:
            hands.make_directory(Path(self.path))
        else:
            old = self.before or Content(data=b"")
            hands.write(Path(self.path), replace(old, data=self.after))

    def undo(self, hands: Hands) -> bool:
        """Undo it, done or not; say whether everything is as before.

        What somebody else has changed since then is left as it is.
        """
        path = Path(self.path)
        if self.after is None:
            hands.remove_directory(path)
            return True
        now = hands.read(path)
        if now == self.before:
            return True
        if now is None or now.data != self.after:
            return now is None
        if self.before is None:
            hands.remove(path)
        else:
            hands.write(path, self.before)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Wiring:
    """One way of wiring: its steps, and the command after which the resolver sees them.

    ``server`` is where the resolver was pointed, ``done`` whether it was seen to work.
    """

    resolver: str
    server: str
    steps: tuple[Step, ...]
    reload: tuple[str, ...] = ()
    done: bool = False

    @classmethod
    def read(cls, state: Path) -> Wiring | None:
        """Return what was written last; None when nothing is wired."""
        try:
            data = json.loads((state / JOURNAL).read_bytes())
        except FileNotFoundError:
            return None
        steps = tuple(_step(each) for each in data.pop("steps"))
        return cls(**{**data, "reload": tuple(data["reload"]), "steps": steps})

    def write(self, state: Path) -> None:
        """Write it down, durably."""
        data = asdict(self) | {"steps": [_json(step) for step in self.steps]}
        write_atomic(state / JOURNAL, json.dumps(data, indent=1))

    def apply(self, hands: Hands) -> None:
        """Take all steps, and have the resolver see them."""
        for step in self.steps:
            step.apply(hands)
        self.tell_resolver(hands)

    def undo(self, hands: Hands, state: Path) -> Undone:
        """Undo all steps, newest first, have the resolver see that, and forget them."""
        kept = tuple(step.path for step in reversed(self.steps) if not step.undo(hands))
        untold = ""
        try:
            self.tell_resolver(hands)
        except BangerError as problem:
            # Its files are right again, which is what it reads when it starts
            untold = f"{problem.summary} ({problem.cause}): {shlex.join(self.reload)}"
        (state / JOURNAL).unlink(missing_ok=True)
        return Undone(wiring=self, kept=kept, untold=untold)

    def tell_resolver(self, hands: Hands) -> None:
        """Run the command, if there is one."""
        if self.reload:
            hands.run(self.reload)


@dataclass(frozen=True, slots=True, kw_only=True)
class Undone:
    """A wiring that is no more. ``kept`` are files that somebody else has changed since then and
    that were left as they are; ``untold`` says why the resolver may not have noticed yet.
    """

    wiring: Wiring
    kept: tuple[str, ...] = ()
    untold: str = ""


def plan_file(path: Path, data: bytes, hands: Hands) -> list[Step]:
    """The steps that make ``path`` a file with this content, its directories included."""
    missing = []
    parent = path.parent
    while not parent.is_dir():
        missing.append(parent)
        parent = parent.parent
    steps = [Step(path=str(each)) for each in reversed(missing)]
    return [*steps, Step(path=str(path), before=hands.read(path), after=data)]


def _json(step: Step) -> dict[str, Any]:
    before = step.before
    return {
        "path": step.path,
        "before": before and {**asdict(before), "data": _text(before.data)},
        "after": None if step.after is None else _text(step.after),
    }


def _step(data: dict[str, Any]) -> Step:
    before, after = data["before"], data["after"]
    return Step(
        path=data["path"],
        before=before and Content(**{**before, "data": base64.b64decode(before["data"])}),
        after=None if after is None else base64.b64decode(after),
    )


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
