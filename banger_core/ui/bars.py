"""What is under way on a terminal: as much about each thing as there is room for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.cells import cell_len
from rich.console import Console, RenderableType
from rich.progress import Progress, Task
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Column, Table
from rich.text import Text

from banger_core.sizes import format_size

BYTES = 1 << 20
"""From this total on, what is counted is taken for bytes; less may be steps, and is a share."""

_PARTS: tuple[tuple[str, ...], ...] = (
    ("bar", "amount", "rate", "left"),
    ("amount", "rate", "left"),
    ("amount", "left"),
    ("share",),
)
"""What is told beside the name: the first line that leaves the names enough room."""

_BAR = 20
_NAME = 18
_INDENT = 2
# Most values fit, so that columns do not move while they change
_LEAST = {"bar": _BAR, "amount": 13, "rate": 10, "left": 5, "share": 4}


class Bars(Progress):
    """A line for each thing whose end is not known, and below a bar for each other."""

    def get_renderables(self) -> Iterable[RenderableType]:
        """Give everything that is shown now."""
        tasks = [task for task in self.tasks if task.visible]
        open_ended = [task for task in tasks if task.total is None]
        bars = [task for task in tasks if task.total is not None]
        for task in open_ended:
            yield _line(task, self.console)
        if bars:
            # A display that is higher than the terminal cannot be painted over
            most = max(1, self.console.height - len(open_ended) - 2)
            yield _table(bars[:most], self.console.width)
            if len(bars) > most:
                yield Text(f"{'':{_INDENT}}… {len(bars) - most} more", style="dim")


def make_bars() -> Bars:
    """Make an empty display on stderr, which leaves no trace when it is stopped."""
    return Bars(console=Console(stderr=True, highlight=False), transient=True)


def _line(task: Task, console: Console) -> RenderableType:
    """A spinner, what is being done, how much of it is done, and since when."""
    spinner = Spinner("dots" if console.encoding.startswith("utf") else "line")
    spinner.start_time = 0.0
    mark = spinner.render(task.get_time())
    amount = f"{format_size(int(task.completed))} " if task.completed >= BYTES else ""
    tail = f"{amount}{_clock(task.elapsed or 0)}"
    # The last column stays free: some terminals wrap when it is written
    room = console.width - cell_len(tail) - 4
    name = _cut(task.description, max(1, room))
    return Text.assemble(
        mark if isinstance(mark, Text) else "", " ", name, " ", (tail, "cyan"), no_wrap=True
    )


def _table(tasks: Sequence[Task], width: int) -> Table:
    longest = max(cell_len(task.description) for task in tasks)
    layouts = (_layout(tasks, parts, width) for parts in _PARTS)
    widths, room = next(
        (layout for layout in layouts if layout[1] >= min(longest, _NAME)),
        _layout(tasks, _PARTS[-1], width),
    )
    name = max(1, min(longest, room))
    columns = [Column(width=wide, no_wrap=True, justify="right") for wide in widths.values()]
    table = Table.grid(Column(width=1), Column(width=name, no_wrap=True), *columns, padding=(0, 1))
    for task in tasks:
        cells = [_bar(task) if part == "bar" else _told(task, part) for part in widths]
        table.add_row("", _cut(task.description, name), *cells)
    return table


def _layout(tasks: Sequence[Task], parts: Sequence[str], width: int) -> tuple[dict[str, int], int]:
    """How wide each of ``parts`` is, and how much room that leaves for names."""
    widths = {
        part: max(_LEAST[part], *(len(_told(task, part)) for task in tasks)) for part in parts
    }
    # Indented, a space between columns, and the last column of the terminal free
    return widths, width - _INDENT - sum(widths.values()) - len(widths) - 1


def _told(task: Task, part: str) -> str:
    """One thing about a task with a known end, in words."""
    total = int(task.total or 0)
    bytes_ = total >= BYTES
    match part:
        case "amount" if bytes_:
            return _amount(int(task.completed), total)
        case "amount" | "share":
            return f"{task.percentage:.0f}%"
        case "rate" if bytes_ and task.speed:
            return f"{format_size(int(task.speed))}/s"
        case "left" if task.time_remaining is not None:
            return _clock(task.time_remaining)
    return ""


def _amount(done: int, total: int) -> str:
    """``12.3/45 MiB``."""
    whole = format_size(total)
    part = format_size(done)
    number, unit = part.split(" ")
    return f"{number if whole.endswith(f' {unit}') else part}/{whole}"


def _bar(task: Task) -> ProgressBar:
    return ProgressBar(total=max(1, task.total or 1), completed=task.completed, width=_BAR)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _cut(text: str, width: int) -> Text:
    cut = Text(text, no_wrap=True)
    cut.truncate(width, overflow="ellipsis")
    return cut
