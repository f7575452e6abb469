"""Groups whose commands come into being when they are named.

Making a command out of a function costs typer a few milliseconds, importing its module more:
``vm list`` pays for ``list`` only, and help comes from the table.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any, NamedTuple, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

from banger_core.errors import BangerError, NotFound, UsageProblem

OPTIONS_FIRST = {"allow_interspersed_args": False}
"""Settings of a command whose first argument ends its options."""

TAKES_THE_REST = {**OPTIONS_FIRST, "ignore_unknown_options": True}
"""Settings of a command that hands everything it does not know to another program."""

AFTER_DASHES = "banger.after-dashes"
"""Where a context keeps the command line for a machine."""

WITH_DASHES = "banger.with-dashes"
"""Where it keeps, when an option was wrong, how it would be right as a command's."""

_COMPLETION_OPTIONS = ("install_completion", "show_completion")

Made = TyperCommand | TyperGroup
F = TypeVar("F", bound=Callable[..., Any])


class Member(NamedTuple):
    """One command of a group. ``target`` makes it: a function, a ``Noun``, an application of
    typer's, or ``module:name`` of one, imported when needed.
    """

    summary: str
    target: Any
    hidden: bool = False
    cls: type[TyperCommand] = TyperCommand
    settings: dict[str, Any] | None = None

    def make(self, name: str) -> Made:
        """Import what is to be imported, and build the command."""
        target = self.target
        if isinstance(target, str):
            module, _, attribute = target.partition(":")
            target = getattr(import_module(module), attribute)
        if isinstance(target, Noun):
            return target.group(name)
        if isinstance(target, typer.Typer):
            return _application(target, name)
        return _command(target, name, self)


class Noun:
    """A noun of the command line: its name, one line about it, and its verbs by name."""

    def __init__(self, name: str, summary: str, members: dict[str, Member] | None = None) -> None:
        self.name = name
        self.summary = summary
        self.members: dict[str, Member] = members if members is not None else {}

    def group(self, name: str = "") -> TyperGroup:
        """Build the group that shows this noun."""
        return Group(name or self.name, self.summary, self.members)


def verb(
    noun: Noun,
    name: str,
    *,
    aliases: tuple[str, ...] = (),
    cls: type[TyperCommand] = TyperCommand,
    settings: dict[str, Any] | None = None,
) -> Callable[[F], F]:
    """Make a function the verb ``name`` of ``noun``; its docstring is the help. ``aliases`` are
    accepted but not shown.
    """

    def register(function: F) -> F:
        summary = (function.__doc__ or "").strip().partition("\n")[0].rstrip(".")
        for index, each in enumerate((name, *aliases)):
            noun.members[each] = Member(summary, function, index > 0, cls, settings)
        return function

    return register


class Group(TyperGroup):
    """A group over a table of members."""

    def __init__(self, name: str, summary: str, members: dict[str, Member], **more: Any) -> None:
        super().__init__(
            name=name, help=summary, no_args_is_help=True, rich_markup_mode=None, **more
        )
        self.members = members

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002  (typer's signature)
        """The names that help and completion show."""
        return [name for name, member in self.members.items() if not member.hidden]

    def get_command(self, ctx: Any, cmd_name: str) -> Made | None:  # noqa: ARG002
        """Make the command ``cmd_name``, or say that there is none."""
        member = self.members.get(cmd_name)
        return member.make(cmd_name) if member else None

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the arguments name. Raises NotFound with the nearest names."""
        if args[0] not in self.members and not ctx.resilient_parsing:
            path = ctx.command_path
            known = self.list_commands(ctx)
            hints = [*self._elsewhere(path, args[0]), *self._more_hints(), f"{path} --help"]
            raise NotFound(f"{path} command", args[0], known, hints=hints)
        return super().resolve_command(ctx, args)

    def _more_hints(self) -> list[str]:
        """What else may help when there is no such command."""
        return []

    def _elsewhere(self, path: str, name: str) -> list[str]:
        """Commands of that name one level down: ``banger run`` is ``banger vm run``."""
        found = []
        for noun in self.list_commands(None):
            # A plugin that cannot be used is told of when its command is named
            with suppress(BangerError):
                group = self.get_command(None, noun)
                if isinstance(group, Group) and name in group.members:
                    found.append(f"{path} {noun} {name}")
        return found

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands without making them."""
        rows = [(name, self.members[name].summary) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class DashedCommand(TyperCommand):
    """A command with options, arguments, and after ``--`` a command line that is not its own."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Keep what follows ``--`` in ``ctx.meta``. Raises UsageProblem when a command line
        was given without ``--``.
        """
        own, after = _split(args)
        ctx.meta[AFTER_DASHES] = after
        try:
            return super().parse_args(ctx, list(own))
        except typer.TyperException as problem:
            if after is None:
                option = getattr(problem, "option_name", "")
                if line := self._forgot_dashes(ctx, args, option):
                    raise line from None
                ctx.meta[WITH_DASHES] = self._with_dashes(ctx, args, option)
            raise

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """The usage line, with the command line."""
        return [*super().collect_usage_pieces(ctx), "[-- COMMAND…]"]

    def _forgot_dashes(self, ctx: Any, args: list[str], option: str) -> UsageProblem | None:
        """The problem when a command line begins among ``args``, ahead of what is no ``option``."""
        place = self._where_too_many(ctx, args)
        if place is None or option in args[:place]:
            return None
        return UsageProblem(
            f"{args[place]!r} is one argument too many",
            cause="a command for the machine stands after --",
            hints=[_command_line(ctx, args, place)],
        )

    def _with_dashes(self, ctx: Any, args: list[str], option: str) -> str:
        """``args`` with -- before the word that stands just ahead of ``option``, which is none of
        ours: that word may have been meant as a command. "" when there is no such word.
        """
        places = [n for n, word in enumerate(args) if option and word.startswith(option)]
        if not places or not (first := places[0]):
            return ""
        free = self._lenient(ctx)
        with suppress(typer.TyperException):
            super().parse_args(free, args[:first])
        ours = [one.name for one in self.get_params(free) if one.param_type_name == "argument"]
        if args[first - 1] not in [free.params.get(name) for name in ours]:
            return ""
        return _command_line(ctx, args, first - 1)

    def _where_too_many(self, ctx: Any, args: list[str]) -> int | None:
        """The first word that, with those before it, is more than this command takes."""
        for place, word in enumerate(args):
            free = self._lenient(ctx)
            # An option of ours may still lack its value
            with suppress(typer.TyperException):
                super().parse_args(free, args[: place + 1])
                if word in [extra for extra in free.args if not extra.startswith("-")]:
                    return place
        return None

    def _lenient(self, ctx: Any) -> Any:
        """A context for parsing whatever is there."""
        free = type(ctx)(self, info_name=ctx.info_name, parent=ctx.parent)
        free.ignore_unknown_options = free.allow_extra_args = free.resilient_parsing = True
        return free


def _command_line(ctx: Any, args: list[str], place: int) -> str:
    """What should have been typed: ``args`` with -- ahead of the word at ``place``."""
    import shlex

    return shlex.join([*ctx.command_path.split(), *args[:place], "--", *args[place:]])


def _split(args: list[str]) -> tuple[list[str], list[str] | None]:
    if "--" not in args:
        return args, None
    place = args.index("--")
    return args[:place], args[place + 1 :]


def _application(app: typer.Typer, name: str) -> Made:
    made = typer.main.get_command(app)
    assert isinstance(made, TyperCommand | TyperGroup)
    made.name = name
    # It is a part of banger here, which has a command of its own for completion
    made.params = [each for each in made.params if each.name not in _COMPLETION_OPTIONS]
    return made


def _command(function: Callable[..., Any], name: str, member: Member) -> TyperCommand:
    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name, cls=member.cls, context_settings=member.settings)(function)
    made = typer.main.get_command(app)
    assert isinstance(made, TyperCommand)
    return made
