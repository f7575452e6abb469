"""``banger vm stats``, ``ports`` and ``health``: looking into machines."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import typer

from banger_core.cli.completers import names_of
from banger_core.cli.link import fetch, link
from banger_core.cli.options import AsJson, VmRef, VmRefs
from banger_core.cli.several import find_vms
from banger_core.client.client import url
from banger_core.errors import BangerError, ExitCode, UsageProblem
from banger_core.sizes import format_size
from banger_core.ui.console import is_terminal, say, tell
from banger_core.ui.errors import show_error
from banger_core.ui.jsonout import show_json
from banger_core.ui.tables import repeat_table, show_table

SHORTEST, LONGEST = 0.2, 60.0

STATS = (
    "name",
    "cpu",
    "memory",
    "host memory",
    "disk read",
    "disk write",
    "received",
    "sent",
    "load",
)
PORTS = ("protocol", "address", "port", "host", "process")


def stats(
    references: Annotated[
        list[str],
        typer.Argument(
            metavar="[VM]…",
            help="Default: all that run.",
            show_default=False,
            autocompletion=names_of("vms"),
        ),
    ] = [],  # noqa: B006  (typer reads defaults, nobody writes them)
    once: Annotated[
        bool, typer.Option("--once", help="One look, as when stdout is no terminal.")
    ] = False,
    interval: Annotated[
        float, typer.Option("--interval", metavar="SECONDS", help="Time between two looks.")
    ] = 1.0,
    as_json: AsJson = False,
) -> int:
    """Show what machines use: CPU, memory, disk and network.

    On a terminal the table is live until Ctrl-C. CPU is of one CPU of this host; memory, disk,
    network and load are what the guest says of itself.
    """
    if not SHORTEST <= interval <= LONGEST:
        raise UsageProblem(
            f"--interval {interval:g} is not possible",
            cause=f"it is {SHORTEST:g} to {LONGEST:g} seconds",
            hints=["--interval 1"],
        )
    client = link()
    found = find_vms(client, references) if references else {}
    problems = [each for each in found.values() if isinstance(each, BangerError)]
    for problem in problems:
        show_error(problem)
    named = [each["id"] for each in found.values() if not isinstance(each, BangerError)]
    status = problems[0].exit_code if problems else ExitCode.OK
    if references and not named:
        return status

    def look() -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = client.get(
            url("stats", vm=",".join(named), interval=interval)
        )["vms"]
        return rows

    if as_json:
        show_json(look())
    elif once or not is_terminal(sys.stdout):
        rows = look()
        show_table(STATS, map(_stat_cells, rows))
        _tell_problems(rows)
    else:
        try:
            repeat_table(STATS, lambda: list(map(_stat_cells, look())))
        except KeyboardInterrupt:
            say("")
    return status


def ports(reference: VmRef, as_json: AsJson = False) -> None:
    """List what listens in a machine, and the address that leads there from this host.

    Without an address nothing leads there: publish it with banger net forward add.
    """
    found = fetch("vms", reference, "ports")
    if as_json:
        show_json(found["ports"])
        return
    show_table(
        PORTS,
        [
            (
                row["protocol"],
                row["address"],
                str(row["port"]),
                row["host"] or "",
                f"{row['process']} ({row['pid']})" if row["pid"] else "",
            )
            for row in found["ports"]
        ],
    )


def health(references: VmRefs, as_json: AsJson = False) -> int:
    """Check how machines are. The exit status is 0 when all are well, else 1."""
    client = link()
    rows: list[dict[str, Any]] = []
    status: int = ExitCode.OK
    for each in find_vms(client, references).values():
        if isinstance(each, BangerError):
            show_error(each)
            status = status or each.exit_code
            continue
        row = client.get(url("vms", each["id"], "health"))
        rows.append(row)
        status = status or (ExitCode.OK if row["healthy"] else ExitCode.FAILED)
    if as_json:
        show_json(rows)
    elif rows:
        show_table(("name", "check", "result", "detail"), _check_cells(rows))
    return status


def _check_cells(rows: Iterable[dict[str, Any]]) -> Iterable[Sequence[str]]:
    for row in rows:
        for check in row["checks"]:
            yield row["name"], check["name"], "ok" if check["ok"] else "fail", check["detail"]


def _stat_cells(row: dict[str, Any]) -> Sequence[str]:
    guest = row.get("guest")
    if "cpu_percent" not in row:
        return row["name"], *("-" for _ in STATS[1:])
    cpu, held = f"{row['cpu_percent']:.1f}%", format_size(row["host_memory"])
    if not guest:
        return (
            row["name"],
            cpu,
            f"- / {format_size(row['memory'])}",
            held,
            *("-" for _ in STATS[4:]),
        )
    return (
        row["name"],
        cpu,
        f"{format_size(guest['memory_used'])} / {format_size(guest['memory'])}",
        held,
        f"{format_size(guest['disk_read_rate'])}/s",
        f"{format_size(guest['disk_write_rate'])}/s",
        f"{format_size(guest['receive_rate'])}/s",
        f"{format_size(guest['send_rate'])}/s",
        f"{guest['load'][0]:.2f}" if guest["load"] else "-",
    )


def _tell_problems(rows: Iterable[dict[str, Any]]) -> None:
    for row in rows:
        if row.get("problem"):
            tell(f"{row['name']}: {row['problem']}")
