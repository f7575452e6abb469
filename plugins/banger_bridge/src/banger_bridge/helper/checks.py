"""What callers may ask for, and what they may not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Interface,
    IPv6Network,
    ip_interface,
)
from typing import Any, TypeVar

SUBNET4 = "10.201.0.0/24"
SUBNET6 = "fd62:616e:6765:7201::/64"

_BRIDGE = re.compile(r"[a-z][a-z0-9_-]{0,14}")
_TAP = re.compile(r"bgr[0-9a-f]{12}")
_MAC = re.compile(r"52:54(:[0-9a-f]{2}){4}")
_OWNER = re.compile(r"(\d{1,10})-[0-9a-f]{12}")
_MOST_TAPS = 2000
_PRIVATE4 = tuple(IPv4Network(each) for each in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
_PRIVATE6 = IPv6Network("fd00::/8")


Address = TypeVar("Address", IPv4Interface, IPv6Interface)


class Refused(Exception):
    """An operation that is not done. ``kind`` is ``usage``, ``conflict`` or ``host``, ``missing``
    a program that this host lacks.
    """

    def __init__(
        self,
        summary: str,
        *,
        cause: str = "",
        hints: tuple[str, ...] = (),
        kind: str = "usage",
        missing: str = "",
    ) -> None:
        super().__init__(summary)
        self.summary, self.cause, self.hints = summary, cause, hints
        self.kind, self.missing = kind, missing


@dataclass(frozen=True, slots=True, kw_only=True)
class Bridge:
    """A bridge: ``gateway`` is this host's address on it, ``owner`` whose it is: a user id and
    the mark of one banger of that user's.
    """

    name: str
    owner: str
    gateway: IPv4Interface
    gateway6: IPv6Interface | None

    @property
    def table(self) -> str:
        """Name of its tables in nftables."""
        return f"banger-{self.name}"

    @property
    def mac(self) -> str:
        """Its own hardware address, which stays the same whoever is on it."""
        return "52:55:" + self.gateway.ip.packed.hex(":")

    @property
    def mark(self) -> str:
        """What its interfaces carry as their alias."""
        return f"banger {self.owner}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """A VM's place on a bridge: what it is called, and what it may do."""

    tap: str
    uid: int
    mac: str
    address: IPv4Interface
    address6: IPv6Interface | None
    outbound: bool = False
    host_access: bool = False
    links: tuple[str, ...] = field(default=())


def read_bridge(asked: Mapping[str, Any], caller: int | None) -> Bridge:
    """Return the bridge that is asked for. ``caller`` is the user on whose behalf this runs, None
    when root itself asks. Raises Refused.
    """
    owner = _text(asked, "owner", _OWNER)
    if caller is not None and owner.partition("-")[0] != str(caller):
        raise Refused("a bridge of another user's", cause=f"owner {owner}, user {caller}")
    gateway = _interface(asked, "gateway", IPv4Interface)
    check_subnet(gateway.network)
    gateway6 = _interface(asked, "gateway6", IPv6Interface) if asked.get("gateway6") else None
    if gateway6 is not None:
        check_subnet(gateway6.network)
    return Bridge(
        name=_text(asked, "bridge", _BRIDGE), owner=owner, gateway=gateway, gateway6=gateway6
    )


def read_port(asked: Mapping[str, Any], bridge: Bridge) -> Port:
    """Return the port that is asked for on ``bridge``. Raises Refused."""
    address = _interface(asked, "address", IPv4Interface)
    address6 = _interface(asked, "address6", IPv6Interface) if asked.get("address6") else None
    _check_on(address, bridge.gateway)
    if address6 is not None:
        _check_on(address6, bridge.gateway6)
    return Port(
        tap=_text(asked, "tap", _TAP),
        uid=int(bridge.owner.partition("-")[0]),
        mac=_text(asked, "mac", _MAC),
        address=address,
        address6=address6,
        outbound=asked.get("outbound") is True,
        host_access=asked.get("host_access") is True,
        links=read_taps(asked, "links"),
    )


def read_taps(asked: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return the names of taps that are asked for. Raises Refused."""
    names = asked.get(key, [])
    if not isinstance(names, list) or len(names) > _MOST_TAPS:
        raise Refused(f"{key} is not a list of at most {_MOST_TAPS}")
    return tuple(_text({key: name}, key, _TAP) for name in names)


def check_subnet(subnet: IPv4Network | IPv6Network) -> None:
    """Raise Refused unless ``subnet`` is private and of a sensible size."""
    if isinstance(subnet, IPv4Network):
        private = any(subnet.subnet_of(each) for each in _PRIVATE4)
        sizes, kind = range(16, 30), "10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16 (RFC 1918)"
    else:
        private = subnet.subnet_of(_PRIVATE6)
        sizes, kind = range(48, 113), "fd00::/8 (RFC 4193)"
    if not private:
        raise Refused(f"{subnet} is not within {kind}")
    if subnet.prefixlen not in sizes:
        raise Refused(f"the prefix of {subnet} is not from /{sizes[0]} to /{sizes[-1]}")


def _check_on(
    address: IPv4Interface | IPv6Interface, gateway: IPv4Interface | IPv6Interface | None
) -> None:
    if gateway is None or address.network != gateway.network:
        raise Refused(f"{address} is not in the network of {gateway}")
    edges = {address.network.network_address, address.network.broadcast_address, gateway.ip}
    if address.ip in edges:
        raise Refused(f"{address} cannot be a VM's address")


def _text(asked: Mapping[str, Any], key: str, form: re.Pattern[str]) -> str:
    value = asked.get(key)
    if not isinstance(value, str) or not form.fullmatch(value):
        raise Refused(f"{key} {value!r} is not of the form {form.pattern}")
    return value


def _interface(asked: Mapping[str, Any], key: str, kind: type[Address]) -> Address:
    value = asked.get(key)
    try:
        found = ip_interface(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if not isinstance(found, kind):
        raise Refused(f"{key} {value!r} is not an address with its prefix of that family")
    return found
