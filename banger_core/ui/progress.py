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


def _notices(event: Event) -> None:
    if event["kind"] == "notice":
        tell(str(event.get("data", {}).get("text", "")))


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
        _notices(event)


class _Moving:
    """A spinner with the last step, and below it a bar for everything that has a known end."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def __call__(self, event: Event) -> None:
        data = event.get("data", {})
        what = printable(str(data.get("what", "")))
        if event["kind"] == "notice":
            self._started().console.print(printable(str(data.get("text", ""))), markup=False)
        elif event["kind"] == "step":
            self._started().update(self._task("", what), description=what)
        elif event["kind"] == "progress":
            done, total = data.get("done", 0), data.get("total") or None
            self._started().update(self._task(what, what), completed=done, total=total)
            if total and done >= total:
                self._started().remove_task(self._tasks.pop(what))

    def _task(self, key: str, what: str) -> TaskID:
        if key not in self._tasks:
            self._tasks[key] = self._started().add_task(what, total=None)
        return self._tasks[key]

    def _started(self) -> Progress:
        if self._progress is None:
            self._progress = _bar()
            self._progress.start()
        return self._progress


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        console=Console(stderr=True, highlight=False),
        transient=True,
    )
