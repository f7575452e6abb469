"""The suite for commands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from banger_core.testing.contracts.base import Contract


class CommandContract(Contract):
    """Set ``make`` to what ``load`` names (a ``Noun``, a ``typer.Typer`` or a function), and
    ``name`` to the declared name.
    """

    contract: ClassVar[str] = "Command"
    written: ClassVar[str] = "banger_core/declare.py, Command"
    make: Any
    name: str

    @pytest.fixture
    def commands(self) -> dict[str, Any]:
        """Every command, made as the command line makes it, by what a user types."""
        from banger_core.cli.group import Member

        target = vars(type(self))["make"]
        target = target.__func__ if isinstance(target, staticmethod) else target
        return dict(_walk(Member("", target).make(self.name), self.name))

    def test_every_command_says_what_it_does(self, commands: dict[str, Any]) -> None:
        for path, made in commands.items():
            self.asks(made.help, f"a command says what it does, in its docstring: {path}")

    def test_every_parameter_is_explained(self, commands: dict[str, Any]) -> None:
        for path, made in commands.items():
            for param in made.params:
                explained = getattr(param, "help", "") or param.param_type_name == "argument"
                self.asks(explained, f"an option says what it does: {path} {param.opts[0]}")

    def test_lists_can_be_read_by_programs(self, commands: dict[str, Any]) -> None:
        for path, made in commands.items():
            if path.split()[-1] in ("list", "show", "status"):
                offered = any("--json" in param.opts for param in made.params)
                self.asks(offered, f"what lists or shows has --json (AsJson): {path}")


def _walk(made: Any, path: str) -> Iterator[tuple[str, Any]]:
    yield path, made
    if hasattr(made, "list_commands"):
        for name in made.list_commands(None):
            yield from _walk(made.get_command(None, name), f"{path} {name}")
