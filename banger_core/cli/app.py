"""The root of the command line: a table, so that help needs no noun's module."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import typer
from typer.core import TyperGroup, TyperOption

from banger_core import __version__
from banger_core.cli.group import TAKES_THE_REST, Group, Made, Member
from banger_core.errors import BangerError

PROGRAM = "banger"
PLUGINS = "BANGER_PLUGINS"
"""Which plugins may be used; set but empty: none."""
NO_PLUGINS = "no_plugins"

TRACE = "BANGER_TRACE"
"""``hooks``: say what the plugins' hooks give, before the command does its work."""

_CLI = "banger_core.cli"

MEMBERS = {
    "vm": Member("Virtual machines: run, list, start, stop, reach", f"{_CLI}.vm:vm"),
    "image": Member("Images that machines are made from", f"{_CLI}.image:image"),
    "kernel": Member("Kernels on this host and on offer", f"{_CLI}.kernel:kernel"),
    "net": Member("Networks, and ports that machines publish", f"{_CLI}.net:net"),
    "ssh": Member(
        "Open a shell in a machine; its keys and policy, and plain ssh", f"{_CLI}.ssh:ssh"
    ),
    "ps": Member("List virtual machines", f"{_CLI}.vm:list_vms"),
    "daemon": Member("The daemon that keeps the machines", f"{_CLI}.daemon:daemon"),
    "doctor": Member("Check this host", f"{_CLI}.doctor:doctor"),
    "plugin": Member("Plugins that are installed", f"{_CLI}.plugin:plugin"),
    "config": Member("The configuration in effect", f"{_CLI}.config:config"),
    "completion": Member("Write a completion script for a shell", f"{_CLI}.completion:completion"),
    "version": Member("Say which versions run", f"{_CLI}.version:version"),
}


SSH_COMMANDS = frozenset({"config", "explain", "forget", "known-hosts"})
"""What may follow ``banger ssh`` and is no machine."""

_OPEN_SHELL = Member("Open a shell in a machine", f"{_CLI}.reach:ssh", settings=TAKES_THE_REST)


class Root(Group):
    """The root, which tells ``banger ssh VM`` from ``banger ssh COMMAND``, and looks for commands
    of plugins when one is named that is not its own, or all are listed.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        """The names that help and completion show, the plugins' last."""
        # A configuration that cannot be read must not keep anybody from the help
        with suppress(BangerError):
            self._learn(ctx)
        return super().list_commands(ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Made | None:
        """Make the command ``cmd_name``, or say that there is none."""
        try:
            return super().get_command(ctx, cmd_name)
        except BangerError:
            if ctx is not None and ctx.resilient_parsing:
                # Completion offers what can be used
                return None
            raise

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the arguments name. Raises NotFound with the nearest names."""
        word = args[1] if args[0] == "ssh" and len(args) > 1 else ""
        if word and word not in SSH_COMMANDS and word not in ctx.help_option_names:
            return "ssh", _OPEN_SHELL.make("ssh"), args[1:]
        if args[0] not in self.members:
            self._learn(ctx)
        return super().resolve_command(ctx, args)

    def _more_hints(self) -> list[str]:
        from banger_core.cli.brought import broken_plugins

        with suppress(BangerError):
            if broken := broken_plugins():
                return [f"banger plugin doctor   ({', '.join(broken)} cannot be used)"]
        return []

    def _learn(self, ctx: Any) -> None:
        from banger_core.cli.brought import brought_commands

        if self.members is MEMBERS:
            without = ctx is not None and ctx.params.get(NO_PLUGINS, False)
            self.members = {**MEMBERS, **brought_commands(no_plugins=without)}


def command() -> TyperGroup:
    """Build the root command."""
    # Made by hand: to read them from a signature costs every command 5 ms
    version = TyperOption(
        param_decls=["--version"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_show_version,
        help="Show the version and leave.",
    )
    no_plugins = TyperOption(
        param_decls=["--no-plugins"],
        is_flag=True,
        help="Start the daemon, when it does not run, with no plugin.",
    )
    return Root(
        PROGRAM,
        "A clean Linux machine in one command.",
        MEMBERS,
        params=[version, no_plugins],
        context_settings={"help_option_names": ["-h", "--help"]},
        callback=_apply,
        epilog="First machine: banger vm run",
    )


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit status. Failures come out as exceptions."""
    root = command()
    try:
        with root.make_context(PROGRAM, list(arguments)) as context:
            status = root.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    return status if isinstance(status, int) else 0


def _show_version(_context: Any, _param: Any, wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"{PROGRAM} {__version__}\n")
        raise typer.Exit


def _apply(*, no_plugins: bool) -> None:
    if no_plugins:
        # The environment reaches a daemon that this command starts
        os.environ[PLUGINS] = ""
    if os.environ.get(TRACE):
        from banger_core.config.paths import Paths
        from banger_core.plugins.index import load_index

        load_index(Paths.from_environment())
