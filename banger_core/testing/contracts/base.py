"""What all suites share."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

import pytest

from banger_core.errors import BangerError
from banger_core.jsonable import from_json, to_json

if TYPE_CHECKING:
    from banger_core.testing.context import FakeContext

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Contract:
    """A suite. ``make`` is called without arguments and returns what is tested; ``contract`` is
    the name under which ``banger_core/contracts.py`` writes down what is asked; where that is
    elsewhere, ``written`` says where.
    """

    contract: ClassVar[str] = ""
    written: ClassVar[str] = ""
    make: Callable[[], Any]

    @pytest.fixture
    def cx(self, fake_context: FakeContext) -> FakeContext:
        """The context for every call; override it to give settings."""
        return fake_context

    @pytest.fixture
    def subject(self) -> Any:
        """A fresh implementation."""
        return type(self).make()

    def asks(self, holds: object, what: str) -> None:
        """Fail, saying what the contract asks and where that is written, unless it ``holds``."""
        __tracebackhide__ = True
        if not holds:
            place = self.written or f"banger_core/contracts.py, {self.contract}"
            pytest.fail(f"the contract asks that {what}\n({place}; docs/reference/hooks.md)")

    def cannot_tell(self, what: str, options: str = "") -> NoReturn:
        """Say that the author has to say more before this can be tested: ``what`` is the case, and
        ``options`` those of ``banger plugin check`` that would help, which goes on without.
        """
        __tracebackhide__ = True
        del options
        self.asks(False, f"its suite can be run: {what}")
        raise AssertionError(what)

    def survives_json(self, value: Any, what: str) -> None:
        """Ask that ``value`` comes back unchanged from JSON: the daemon stores it."""
        __tracebackhide__ = True
        try:
            same = from_json(type(value), to_json(value)) == value
        except (TypeError, ValueError) as problem:
            self.asks(False, f"{what} can be stored as JSON: {problem}")
        else:
            self.asks(same, f"{what} comes back unchanged from JSON (use str, int, list, dict)")

    def is_digest(self, text: str, what: str) -> None:
        """Ask for ``sha256:`` and 64 lower-case hexadecimal digits."""
        __tracebackhide__ = True
        self.asks(
            _DIGEST.fullmatch(text), f"{what} is sha256: and 64 hexadecimal digits, not {text!r}"
        )

    async def refuses(self, kind: type[BangerError], call: Awaitable[Any], what: str) -> None:
        """Ask that awaiting ``call`` raises ``kind``, with a summary for people."""
        __tracebackhide__ = True
        try:
            await call
        except kind as problem:
            self.asks(problem.summary, f"{what} raises {kind.__name__} with a summary")
        except Exception as problem:  # noqa: BLE001 - told to the author
            self.asks(False, f"{what} raises {kind.__name__}, not {problem!r}")
        else:
            self.asks(False, f"{what} raises {kind.__name__}")
