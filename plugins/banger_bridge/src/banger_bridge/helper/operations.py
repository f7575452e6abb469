"""The operations."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from banger_bridge.helper import host, interfaces, rules
from banger_bridge.helper.checks import Bridge, Port, Refused, read_bridge, read_port, read_taps
from banger_bridge.helper.commands import apply, run
from banger_bridge.helper.remembered import connected, linked, remembered

_PATIENCE = 15.0


def check(asked: Mapping[str, Any], caller: int | None) -> dict[str, Any]:
    """See whether VMs could be connected, changing nothing. ``outbound`` asks for a way out."""
    bridge = read_bridge(asked, caller)
    interfaces.check_bridge(bridge)
    host.check_subnets(bridge)
    if asked.get("outbound") is True:
        host.check_forwarding()
    return {"remarks": host.remarks(bridge)}


def connect(asked: Mapping[str, Any], caller: int | None) -> dict[str, Any]:
    """Put a VM on its bridge. Walls come first, so that it never is without."""
    bridge = read_bridge(asked, caller)
    port = read_port(asked, bridge)
    with _alone(bridge):
        interfaces.check_bridge(bridge)
        host.check_subnets(bridge)
        if port.outbound:
            host.check_forwarding()
        interfaces.make_bridge(bridge)
        apply(rules.connect(bridge, _with_the_connected(bridge, port), linked(bridge, port.tap)))
        interfaces.make_tap(bridge, port)
    return {}


def change(asked: Mapping[str, Any], caller: int | None) -> dict[str, Any]:
    """Change the way out and the links of a VM that is on its bridge."""
    bridge = read_bridge(asked, caller)
    port = read_port(asked, bridge)
    with _alone(bridge):
        interfaces.check_bridge(bridge)
        if port.tap not in connected(bridge):
            raise Refused(
                f"{port.tap} is not connected",
                cause=f"the walls of {bridge.name} know of no such machine",
                hints=("banger doctor", "banger vm restart NAME"),
                kind="conflict",
            )
        if port.outbound:
            host.check_forwarding()
        apply(rules.change(bridge, _with_the_connected(bridge, port), linked(bridge, port.tap)))
    return {}


def _with_the_connected(bridge: Bridge, port: Port) -> Port:
    """Whoever comes later brings the link along; whoever goes takes it away."""
    there = connected(bridge) if port.links else set()
    return replace(port, links=tuple(each for each in port.links if each in there))


def switch(asked: Mapping[str, Any], caller: int | None) -> dict[str, Any]:
    """Set the tap of a VM that is connected up when ``on`` is true, else down: nothing passes."""
    bridge = read_bridge(asked, caller)
    port = read_port(asked, bridge)
    with _alone(bridge):
        if port.tap not in interfaces.taps(bridge):
            raise Refused(
                f"there is no {port.tap} of this banger's", cause="it was removed", kind="conflict"
            )
        interfaces.switch_tap(port.tap, on=asked.get("on") is True)
    return {}


def disconnect(asked: Mapping[str, Any], caller: int | None) -> dict[str, Any]:
    """Take a VM off its bridge; bridge and tables go with the last one. What is somebody else's
    stays: there is nothing of the VM in it.
    """
    bridge = read_bridge(asked, caller)
    port = read_port(asked, bridge)
    with _alone(bridge):
        if port.tap in interfaces.taps(bridge, half_made=True):
            interfaces.remove_tap(port.tap)
        if interfaces.is_strange(bridge):
            return {}
        if interfaces.ports(bridge):
            apply(rules.disconnect(bridge, port, linked(bridge, port.tap)))
        else:
            _remove(bridge)
    return {}


def _remove(bridge: Bridge) -> None:
    # Rules without a bridge are found by nobody
    apply(rules.remove(bridge))
    interfaces.remove_bridge(bridge)


def sweep(asked: Mapping[str, Any], caller: int | None) -> dict[str, Any]:
    """Remove everything of the owner's VMs but those whose taps are in ``keep``."""
    bridge = read_bridge(asked, caller)
    keep, removed = set(read_taps(asked, "keep")), []
    with _alone(bridge):
        for tap in interfaces.taps(bridge):
            if tap not in keep:
                interfaces.remove_tap(tap)
                removed.append(tap)
        if not interfaces.is_strange(bridge) and interfaces.find(bridge.name):
            removed += _walls_of_nobody(bridge, keep)
    return {"removed": removed}


def _walls_of_nobody(bridge: Bridge, keep: set[str]) -> list[str]:
    if not interfaces.ports(bridge):
        _remove(bridge)
        return [bridge.name]
    for port in remembered(bridge):
        if port.tap not in keep:
            apply(rules.disconnect(bridge, port, linked(bridge, port.tap)))
    return []


def counters(asked: Mapping[str, Any], caller: int | None) -> dict[str, Any]:
    """Return packets and bytes that were dropped, by tap and reason."""
    bridge = read_bridge(asked, caller)
    listed = json.loads(run("nft", "-json", "list", "counters"))["nftables"]
    found: dict[str, dict[str, int]] = {}
    for each in (row["counter"] for row in listed if "counter" in row):
        if each["table"] == bridge.table:
            found[each["name"]] = {"packets": each["packets"], "bytes": each["bytes"]}
    return {"counters": found}


OPERATIONS = {
    "check": check,
    "connect": connect,
    "change": change,
    "switch": switch,
    "disconnect": disconnect,
    "sweep": sweep,
    "counters": counters,
}


@contextmanager
def _alone(bridge: Bridge) -> Iterator[None]:
    """One at a time for each bridge: a name among the sockets of this network namespace, which
    goes with the process that has it.
    """
    with socket.socket(socket.AF_UNIX) as lock:
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                lock.bind(f"\0banger-bridge-{bridge.name}")
                break
            except OSError:
                if time.monotonic() > deadline:
                    raise Refused(
                        f"another operation on {bridge.name} does not end", kind="host"
                    ) from None
                time.sleep(0.01)
        yield
