"""``banger net``: networks, and the ports that machines publish."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from banger_core.cli import values
from banger_core.cli.completers import declared, forwards
from banger_core.cli.group import Member, Noun, verb
from banger_core.cli.link import fetch, link
from banger_core.cli.options import AsJson, VmRef
from banger_core.ui.console import tell
from banger_core.ui.human import plain
from banger_core.ui.jsonout import show_json
from banger_core.ui.tables import show_details, show_table

Port = Annotated[
    str, typer.Argument(metavar="[HOST:]GUEST[/udp]", help="Ports.", show_default=False)
]

net = Noun("net", "Networks, and ports that machines publish")
forward = Noun("forward", "Ports that machines publish")


@verb(net, "list", aliases=("ls",))
def list_networks(as_json: AsJson = False) -> None:
    """List networks and who is on them."""
    networks = fetch("networks")["networks"]
    if as_json:
        show_json(networks)
        return
    show_table(
        ("name", "default", "machines", "summary"),
        [
            (
                row["name"],
                "yes" if row["default"] else "",
                " ".join(row["vms"]),
                row["summary"],
            )
            for row in networks
        ],
    )


@verb(net, "show")
def show_network(
    name: Annotated[
        str,
        typer.Argument(
            metavar="NETWORK", show_default=False, autocompletion=declared("banger_networks")
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Show a network, and the plugin that brings it."""
    row = fetch("networks", name)
    if as_json:
        show_json(row)
        return
    links = [" - ".join(pair) for pair in row["links"]]
    show_details({key: plain(value) for key, value in {**row, "links": links}.items()})


@verb(forward, "list", aliases=("ls",))
def list_forwards(reference: VmRef, as_json: AsJson = False) -> None:
    """List the ports that a machine publishes."""
    _show(fetch("vms", reference, "forwards"), as_json=as_json)


@verb(forward, "add")
def add(reference: VmRef, port: Port, as_json: AsJson = False) -> None:
    """Publish a port of a machine at its own address, at once and at every start.

    HOST is the port there, GUEST the one inside; one number stands for both.
    """
    (wanted,) = values.ports([port])
    body = {
        "host_port": wanted.host_port,
        "guest_port": wanted.guest_port,
        "protocol": wanted.protocol,
    }
    _show(_change("POST", reference, body), as_json=as_json)


@verb(forward, "remove", aliases=("rm",))
def remove(
    reference: VmRef,
    port: Annotated[
        str,
        typer.Argument(
            metavar="HOST[/udp]",
            help="The published port.",
            show_default=False,
            autocompletion=forwards,
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Take a published port back; connections that are open may go on."""
    (wanted,) = values.ports([port])
    body = {"host_port": wanted.host_port, "protocol": wanted.protocol}
    _show(_change("DELETE", reference, body), as_json=as_json)


def _change(method: str, reference: str, body: dict[str, Any]) -> dict[str, Any]:
    from banger_core.client.client import url

    found: dict[str, Any] = link().call(method, url("vms", reference, "forwards"), body)
    return found


def _show(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        show_json(found)
        return
    if not found["forwards"]:
        tell(f"{found['vm']} publishes no ports")
        return
    show_table(
        ("host", "guest", "protocol"),
        [
            (
                f"{each['host_address']}:{each['host_port']}",
                str(each["guest_port"]),
                each["protocol"],
            )
            for each in found["forwards"]
        ],
    )


net.members["forward"] = Member(forward.summary, forward)
