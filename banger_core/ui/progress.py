"""Events of an operation, shown on stderr while it runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, Self

from banger_core.sizes import format_size
from banger_core.ui.console import is_terminal, printable, tell

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Event = dict[str, Any]


class Painter(Protocol):
    """Shows one event after the other."""

    def __call__(self, event: Event, /) -> None:
        """Show ``event``."""
        ...


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Painter]:
    """Give something that shows events: moving on a terminal, one line per step elsewhere,
    nothing when ``quiet``.
    """
    if quiet:
        yield _nothing
    elif is_terminal(sys.stderr):
        with _Moving() as moving:
            yield moving
    else:
        yield _Lines()


def _nothing(_: Event) -> None:
    return


def _spoken(event: Event) -> list[str]:
    """What an event says in words of its own: a notice, or lines of a program's output."""
    data = event.get("data", {})
    if event["kind"] == "notice":
        return [str(data.get("text", ""))]
    return [str(line) for line in data.get("lines", ())] if event["kind"] == "output" else []


class _Lines:
    """One line per step, and one when something with progress begins. Work that goes on side by
    side reports in turns: what was said once is not said again.
    """

    def __init__(self) -> None:
        self._said: set[str] = set()

    def __call__(self, event: Event) -> None:
        data = event.get("data", {})
        what = str(data.get("what", ""))
        if event["kind"] in ("step", "progress") and what and what not in self._said:
            self._said.add(what)
            total = data.get("total") or 0
            tell(f"{what} ({format_size(total)})" if total > 1 << 20 else what)
        for line in _spoken(event):
            tell(line)


class _Moving:
    """A spinner with the last step, and below it a bar for everything that is under way. What is
    done vanishes: the result is told by whoever asked.
    """

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._open_ended: set[str] = set()
        self._step = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def __call__(self, event: Event) -> None:
        data = event.get("data", {})
        what = printable(str(data.get("what", "")))
        for line in _spoken(event):
            self._started().console.print(printable(line), markup=False, highlight=False)
        if event["kind"] == "step":
            self._begin(what)
        elif event["kind"] == "progress":
            self._advance(what, data.get("done") or 0, data.get("total") or None)

    def _begin(self, step: str) -> None:
        """Show another step. What has no known end never says that it is done: it goes here, and
        comes back when there is more to say about it.
        """
        for what in self._open_ended:
            self._remove(what)
        self._open_ended.clear()
        self._step = step
        self._started().update(self._task("", step), description=step, completed=0)

    def _advance(self, what: str, done: int, total: int | None) -> None:
        if total is not None and done >= total:
            self._remove(what)
        elif total is None and what == self._step:
            self._started().update(self._task("", what), completed=done)
        else:
            if total is None:
                self._open_ended.add(what)
            self._started().update(self._task(what, what, total), completed=done, total=total)

    def _remove(self, what: str) -> None:
        if what in self._tasks:
            self._started().remove_task(self._tasks.pop(what))

    def _task(self, key: str, what: str, total: int | None = None) -> TaskID:
        if key not in self._tasks:
            self._tasks[key] = self._started().add_task(what, total=total)
        return self._tasks[key]

    def _started(self) -> Progress:
        if self._progress is None:
            from banger_core.ui.bars import make_bars

            self._progress = make_bars()
            self._progress.start()
        return self._progress
