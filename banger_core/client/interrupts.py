"""Signals that ask to stop, as calls instead of deaths."""

from __future__ import annotations

import signal

TYPE_CHECKING = False  # ``typing`` costs more than this module; ``vm exec`` counts milliseconds
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import Any, Self

ASKING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""The signals by which a person, a terminal or a supervisor asks a program to stop."""


class Interrupts:
    """While a ``with`` block lasts, the asking signals call ``react(number)``.

    ``react`` may be exchanged at any time; at first it raises Interrupted. What it raises comes
    up wherever the main thread is; when it returns, system calls go on as if nothing had
    happened. ``received`` lists every signal. Signals that are ignored (nohup) stay ignored.
    """

    def __init__(self) -> None:
        self.received: list[int] = []
        self.react: Callable[[int], None] = self.give_up
        self._former: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in ASKING:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self.received.append(number)
        self.react(number)

    @staticmethod
    def give_up(number: int) -> None:
        """End what is being done. Raises Interrupted."""
        from banger_core.errors import Interrupted

        raise Interrupted("interrupted", cause=f"received {signal.Signals(number).name}")
