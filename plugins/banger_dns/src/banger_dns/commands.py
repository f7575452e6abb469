"""``banger dns``: names of machines, and how this host finds them."""

from __future__ import annotations

import ipaddress
import os
import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from banger_core.api import (
    AsJson,
    BangerError,
    HostNotReady,
    Noun,
    UsageProblem,
    ask,
    say,
    show_details,
    show_json,
    show_table,
    tell,
    verb,
)

if TYPE_CHECKING:
    from banger_dns.wiring.wire import Look, Wirer

_RESOLVERS = ("systemd-resolved", "NetworkManager", "dnsmasq", "resolv.conf")


def _resolvers(incomplete: str) -> list[str]:
    return [name for name in _RESOLVERS if name.startswith(incomplete)]


dns = Noun("dns", "Names of machines, and how this host finds them")


@verb(dns, "status")
def status(as_json: AsJson = False) -> None:
    """Show who serves names, and whether this host finds them."""
    found = ask("dns", "status")
    look = _wirer(found).look()
    if as_json:
        del found["responder"]["token"]
        show_json({**found, "host": _host(look)})
        return
    responder = found["responder"]
    show_details(
        {
            "zone": found["zone"],
            "names": str(found["names"]),
            "served": _served(responder),
            "resolver": look.resolvers[0].name,
            "wired": f"{look.wired.resolver}, to {look.wired.server}" if look.wired else "no",
            "this host": f"finds no names: {look.problem}" if look.problem else "finds names",
            "mapdns": _mapdns(found["mapdns"]),
        }
    )
    for problem in (responder["problem"], found["mapdns"]["problem"]):
        for line in _advice(problem):
            tell(line)
    if look.problem and responder["pid"] and not look.wired:
        tell("try: banger dns wire")


@verb(dns, "list", aliases=("ls",))
def list_names(as_json: AsJson = False) -> None:
    """List the names of machines that run, and their addresses."""
    names = ask("dns", "list")["names"]
    if as_json:
        show_json(names)
    elif not names:
        tell("no machine runs")
    else:
        show_table(
            ("name", "addresses"), [(each["name"], " ".join(each["addresses"])) for each in names]
        )


@verb(dns, "serve")
def serve(
    address: Annotated[
        str, typer.Option("--address", help="A loopback address.", metavar="ADDRESS")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="UDP and TCP.")] = 53,
) -> None:
    """Serve names at one more address, until Ctrl-C.

    The daemon serves them by itself at the address of the configuration. This is for another one,
    and for a supervisor that is to look after it: then set responder = false in [plugins.dns].
    """
    from banger_dns.ports import check

    try:
        local = ipaddress.ip_address(address).is_loopback
    except ValueError:
        local = False
    if not local:
        raise UsageProblem(
            f"{address} is no loopback address",
            cause="others could ask for the names of machines",
            hints=[f'set address = "{address}" and expose = true in [plugins.dns]'],
        )
    check(address, port, serve=True)
    state = ask("dns", "status")["state_dir"]
    argv = [sys.executable, "-P", "-m", "banger_dns.responder", state, address, str(port)]
    sys.stdout.flush()
    os.execv(argv[0], argv)  # noqa: S606 - no shell is wanted


@verb(dns, "wire")
def wire(
    resolver: Annotated[
        str,
        typer.Option(
            "--resolver",
            metavar="NAME",
            help=f"{', '.join(_RESOLVERS[:-1])} or {_RESOLVERS[-1]}. "
            "Default: the one that answers this host's programs.",
            show_default=False,
            autocompletion=_resolvers,
        ),
    ] = "",
    reload: Annotated[
        str,
        typer.Option(
            "--reload",
            metavar="COMMAND",
            help="What makes the resolver see its configuration, where it is no service of "
            "systemd.",
            show_default=False,
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Make this host's programs find machines as NAME.vm.

    The resolver that this host uses is pointed at the names of machines, for these names alone.
    It is tried with a real look-up, and undone when that fails. Needs root or sudo.
    """
    found = ask("dns", "status")
    wirer = _wirer(found)
    try:
        chosen = wirer.wire(resolver, tuple(shlex.split(reload)) if reload else None)
    except HostNotReady as problem:
        _print_lines(problem)
        raise
    if as_json:
        show_json(_host(wirer.look()))
    elif chosen is None:
        tell("this host finds names already")
    else:
        tell(f"{chosen.name} finds names now: banger dns unwire undoes it")


@verb(dns, "unwire")
def unwire(as_json: AsJson = False) -> None:
    """Undo what wire did, exactly."""
    undone = _wirer(ask("dns", "status")).unwire()
    if as_json:
        resolver = undone.wiring.resolver if undone else None
        show_json({"resolver": resolver, "left": [*undone.kept] if undone else []})
    elif undone is None:
        tell("nothing is wired")
    elif not undone.kept:
        tell(f"{undone.wiring.resolver} is as it was before")
    if undone is None:
        return
    for path in undone.kept:
        tell(f"{path} was changed by somebody else since then, and is left as it is")
    if undone.untold:
        tell(f"the resolver may not know it yet: {undone.untold}")


def _wirer(found: dict[str, Any]) -> Wirer:
    from banger_dns.wiring.wire import Wirer

    return Wirer(found, tell)


def _host(look: Look) -> dict[str, Any]:
    from banger_dns.wiring.wire import by_hand

    return {
        "finds_names": not look.problem,
        "problem": look.problem,
        "wired": look.wired
        and {
            "resolver": look.wired.resolver,
            "server": look.wired.server,
            "files": [step.path for step in look.wired.steps if step.after is not None],
            "complete": look.wired.done,
        },
        "resolvers": [
            {"name": each.name, "obstacle": each.obstacle, "by_hand": by_hand(each)}
            for each in look.resolvers
        ],
    }


def _served(responder: dict[str, Any]) -> str:
    where = f"{responder['address']} port {responder['port']}"
    if responder["pid"]:
        return f"{where}, by process {responder['pid']}"
    return f"no: {where} cannot be had" if responder["enabled"] else "no: it is switched off"


def _mapdns(found: dict[str, Any]) -> str:
    if not found["data_file"]:
        return "no data file is set"
    return f"{found['data_file']} ({found['program'] or 'the program is not found'})"


def _advice(problem: dict[str, Any] | None) -> list[str]:
    if problem is None:
        return []
    failure = BangerError.from_dict(problem)
    causes = [f"cause: {failure.cause}"] if failure.cause else []
    return [failure.summary, *causes, *(f"try: {hint}" for hint in failure.hints)]


def _print_lines(problem: HostNotReady) -> None:
    """The lines to add are what was asked for, so they go to stdout."""
    place = next((n for n, hint in enumerate(problem.hints) if hint.startswith("add to ")), None)
    if place is None:
        return
    head, *lines = problem.hints[place:]
    for line in (f"# {head}", *lines):
        say(line)
    problem.hints = (*problem.hints[:place], "add the lines above by hand")
