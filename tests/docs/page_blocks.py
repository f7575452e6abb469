"""The blocks of commands on a page of the documentation."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"(?:<!-- not run: ([^\n]+) -->\n)?```console\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Step:
    """A command, and the lines that the page says it shows."""

    command: str
    shows: tuple[str, ...]


@dataclass(frozen=True)
class Block:
    """``why_not`` is what the page says where its commands cannot be run by a test."""

    steps: tuple[Step, ...]
    why_not: str


def blocks_of(page: str) -> list[Block]:
    """Every block of ``page``, in order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = [Block(_steps(inside), why_not) for why_not, inside in _BLOCK.findall(text)]
    assert len(found) == text.count("```console"), "a block of another form"
    return found


def to_run(page: str) -> list[Step]:
    """What a test types, in order."""
    return [step for block in blocks_of(page) if not block.why_not for step in block.steps]


def _steps(inside: str) -> tuple[Step, ...]:
    typed = re.split(r"^\$ ", inside, flags=re.MULTILINE)
    assert typed[0] == "", "a block begins with a command"
    return tuple(Step(lines[0], tuple(lines[1:])) for lines in map(str.splitlines, typed[1:]))
