"""The rules of one bridge as text for ``nft -f -``: pure, one transaction each.

Three walls. In the family ``bridge``, where a frame still carries the name of the tap that it
came from: nobody speaks as another, and only linked VMs hear each other. In ``inet``: nothing is
routed or delivered to this host unless it was allowed. VMs are elements of sets and maps, so a VM
comes and goes without the others' rules or counters being touched. In both families the tables are
banger's own; what is accepted here can still be refused by anybody else's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv6Address

from banger_bridge.helper.checks import Bridge, Port

METADATA4 = ("169.254.0.0/16", "168.63.129.16", "100.100.100.200", "192.0.0.192")
"""Where clouds tell a host its secrets: all link-local addresses, Azure, Alibaba, Oracle."""

METADATA6 = ("fd00:ec2::/32", "fd20:ce::254", "fd00:c1::a9fe:a9fe")
"""The same in IPv6: Amazon, Google, Oracle."""

REASONS = {
    "spoofed": "sent as somebody else",
    "isolated": "to a VM that it is not linked with",
    "host": "to this host",
    "metadata": "to a cloud's metadata",
    "outbound": "to the outside",
}
"""What is counted for each VM, and what those packets were."""

_BRIDGE_REASONS = ("spoofed", "isolated")

_TABLES = """\
add table bridge {table}
add map bridge {table} ports {{ type ifname : verdict; }}
add map bridge {table} isolated {{ type ifname : counter; }}
add set bridge {table} taps {{ type ifname; }}
add set bridge {table} links {{ type ifname . ifname; }}
add counter bridge {table} around
add chain bridge {table} prerouting {{ type filter hook prerouting priority -300; policy accept; }}
add chain bridge {table} input {{ type filter hook input priority -200; policy accept; }}
add chain bridge {table} forward {{ type filter hook forward priority -200; policy accept; }}
add table inet {table}
add set inet {table} outbound {{ type ether_addr; }}
add set inet {table} to_host {{ type ether_addr; }}
add map inet {table} drops_host {{ type ether_addr : counter; }}
add map inet {table} drops_metadata {{ type ether_addr : counter; }}
add map inet {table} drops_outbound {{ type ether_addr : counter; }}
add counter inet {table} inbound
add chain inet {table} input {{ type filter hook input priority -10; policy accept; }}
add chain inet {table} forward {{ type filter hook forward priority -10; policy accept; }}
add chain inet {table} leaving
add chain inet {table} postrouting {{ type nat hook postrouting priority 100; policy accept; }}
"""

_RULES = """\
flush chain bridge {table} prerouting
add rule bridge {table} prerouting iifname vmap @ports
flush chain bridge {table} input
add rule bridge {table} input iifname != @taps accept
add rule bridge {table} input ip daddr {net4} ip daddr != {gateway4} counter name around drop
{input6}\
flush chain bridge {table} forward
add rule bridge {table} forward iifname . oifname @links accept
add rule bridge {table} forward iifname != @taps oifname != @taps accept
add rule bridge {table} forward arp daddr ip {gateway4} drop
add rule bridge {table} forward ip6 daddr ff00::/8 drop
add rule bridge {table} forward counter name iifname map @isolated
add rule bridge {table} forward drop
flush chain inet {table} input
add rule inet {table} input iifname != "{bridge}" accept
add rule inet {table} input ct state established,related accept
add rule inet {table} input icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept
add rule inet {table} input icmpv6 type {{ nd-router-solicit, mld2-listener-report }} drop
add rule inet {table} input ether saddr @to_host accept
add rule inet {table} input counter name ether saddr map @drops_host
add rule inet {table} input reject with icmpx admin-prohibited
flush chain inet {table} forward
add rule inet {table} forward iifname "{bridge}" oifname "{bridge}" accept
add rule inet {table} forward iifname "{bridge}" goto leaving
add rule inet {table} forward oifname "{bridge}" ct state established,related accept
add rule inet {table} forward oifname "{bridge}" counter name inbound drop
flush chain inet {table} leaving
add rule inet {table} leaving ether saddr != @to_host ip daddr {{ {metadata4} }} \
counter name ether saddr map @drops_metadata reject with icmpx admin-prohibited
add rule inet {table} leaving ether saddr != @to_host ip6 daddr {{ {metadata6} }} \
counter name ether saddr map @drops_metadata reject with icmpx admin-prohibited
add rule inet {table} leaving ether saddr @outbound accept
add rule inet {table} leaving counter name ether saddr map @drops_outbound
add rule inet {table} leaving reject with icmpx admin-prohibited
flush chain inet {table} postrouting
add rule inet {table} postrouting ip saddr {net4} oifname != {{ "lo", "{bridge}" }} masquerade
{nat6}\
"""

_INPUT6 = """\
add rule bridge {table} input ip6 daddr {net6} ip6 daddr != {gateway6} counter name around drop
"""
_NAT6 = """\
add rule inet {table} postrouting ip6 saddr {net6} oifname != {{ "lo", "{bridge}" }} masquerade
"""

# The kernel takes the tag off a frame of a VLAN before the rules see it, but tells its type
_GUARD = """\
add rule bridge {table} {tap} ether saddr != {mac} counter name {tap}-spoofed drop
add rule bridge {table} {tap} ether type {{ 0x8100, 0x88a8 }} counter name {tap}-spoofed drop
add rule bridge {table} {tap} arp htype 1 arp ptype ip arp hlen 6 arp plen 4 \
arp saddr ether {mac} arp saddr ip {{ {ip4}, 0.0.0.0 }} accept
add rule bridge {table} {tap} ip saddr {ip4} accept
"""

# Neighbour discovery (RFC 4861) names addresses of both kinds in its body, where a liar would put
# them: the target of an advertisement, and the one option, which is the sender's own hardware
# address or the nonce of duplicate detection (RFC 7527)
_GUARD6 = """\
add rule bridge {table} {tap} icmpv6 type {{ nd-router-advert, nd-redirect }} \
counter name {tap}-spoofed drop
add rule bridge {table} {tap} icmpv6 type nd-neighbor-advert @th,64,128 != {{ {own6} }} \
counter name {tap}-spoofed drop
add rule bridge {table} {tap} icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} \
ip6 length != {{ 24, 32 }} counter name {tap}-spoofed drop
add rule bridge {table} {tap} icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} \
ip6 length 32 @th,192,16 {{ 0x0101, 0x0201 }} @th,208,48 != {mac_number} \
counter name {tap}-spoofed drop
add rule bridge {table} {tap} icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} \
ip6 length 32 @th,192,16 != {{ 0x0101, 0x0201, 0x0e01 }} counter name {tap}-spoofed drop
add rule bridge {table} {tap} ip6 saddr {{ {addresses6} }} accept
add rule bridge {table} {tap} ip6 saddr :: icmpv6 type nd-neighbor-solicit accept
add rule bridge {table} {tap} ip6 saddr :: icmpv6 type {{ nd-router-solicit, \
mld2-listener-report }} drop
"""


def connect(bridge: Bridge, port: Port, linked: Iterable[str] = ()) -> str:
    """Return the transaction that makes the walls of ``bridge``, where they are not there, and
    puts ``port`` behind them; done again, it changes nothing but the counters of ``port``.
    ``linked`` are the taps that it was linked with until now.
    """
    forget = _forget(bridge, port, linked)
    return tables(bridge) + forget + _rules(bridge) + _remember(bridge, port)


def disconnect(bridge: Bridge, port: Port, linked: Iterable[str] = ()) -> str:
    """Return the transaction that removes every trace of ``port``, whatever there is of it, and
    its links with the taps in ``linked``.
    """
    return tables(bridge) + _forget(bridge, port, linked)


def change(bridge: Bridge, port: Port, linked: Iterable[str]) -> str:
    """Return the transaction that makes the way out and the links of a connected ``port`` what it
    says; ``linked`` are the taps that it was linked with until now.
    """
    way = _outbound(bridge, port)
    lines = [f"add element {way}"] + [f"delete element {way}"] * (not port.outbound)
    for element in _pairs(bridge, port.tap, (each for each in linked if each not in port.links)):
        lines += [f"add element {element}", f"delete element {element}"]
    lines += [f"add element {each}" for each in _pairs(bridge, port.tap, port.links)]
    return "\n".join(lines) + "\n"


def remove(bridge: Bridge) -> str:
    """Return the transaction that removes both tables, whether they are there or not."""
    return "".join(
        f"add table {family} {bridge.table}\ndelete table {family} {bridge.table}\n"
        for family in ("bridge", "inet")
    )


def tables(bridge: Bridge) -> str:
    """Return what declares tables, sets and chains; it changes none that is there."""
    return _TABLES.format(table=bridge.table)


def _rules(bridge: Bridge) -> str:
    facts = {
        "table": bridge.table,
        "bridge": bridge.name,
        "net4": bridge.gateway.network,
        "gateway4": bridge.gateway.ip,
        "metadata4": ", ".join(METADATA4),
        "metadata6": ", ".join(METADATA6),
        "net6": bridge.gateway6.network if bridge.gateway6 else "",
        "gateway6": bridge.gateway6.ip if bridge.gateway6 else "",
    }
    input6, nat6 = (_INPUT6, _NAT6) if bridge.gateway6 else ("", "")
    return _RULES.format(**facts, input6=input6.format(**facts), nat6=nat6.format(**facts))


def _remember(bridge: Bridge, port: Port) -> str:
    table, tap = bridge.table, port.tap
    lines = [f"add counter {_family(why)} {table} {tap}-{why}" for why in REASONS]
    lines.append(f"add chain bridge {table} {tap}")
    guard = _guard(bridge, port) + f"add rule bridge {table} {tap} counter name {tap}-spoofed drop"
    lines += [guard, *(f"add element {each}" for each in _elements(bridge, port))]
    return "\n".join(lines) + "\n"


def _forget(bridge: Bridge, port: Port, linked: Iterable[str]) -> str:
    """Elements, chain and counters are added first where they are missing: nft has no way to
    delete what may not be there before its version 1.0.7.
    """
    table, tap = bridge.table, port.tap
    lines = [f"add counter {_family(why)} {table} {tap}-{why}" for why in REASONS]
    lines.append(f"add chain bridge {table} {tap}")
    was = replace(port, links=tuple(dict.fromkeys((*port.links, *linked))))
    for element in _elements(bridge, was, every=True):
        lines += [f"add element {element}", f"delete element {element}"]
    lines += [f"flush chain bridge {table} {tap}", f"delete chain bridge {table} {tap}"]
    lines += [f"delete counter {_family(why)} {table} {tap}-{why}" for why in REASONS]
    return "\n".join(lines) + "\n"


def _elements(bridge: Bridge, port: Port, *, every: bool = False) -> list[str]:
    """What a port is in sets and maps; with ``every`` also what it may have been."""
    table, tap, mac = bridge.table, port.tap, port.mac
    found = [
        f'bridge {table} taps {{ "{tap}" }}',
        f'bridge {table} ports {{ "{tap}" : goto {tap} }}',
        f'bridge {table} isolated {{ "{tap}" : "{tap}-isolated" }}',
        *(
            f'inet {table} drops_{why} {{ {mac} : "{tap}-{why}" }}'
            for why in REASONS
            if why not in _BRIDGE_REASONS
        ),
    ]
    if port.outbound or every:
        found.append(_outbound(bridge, port))
    if port.host_access or every:
        found.append(f"inet {table} to_host {{ {mac} }}")
    return found + _pairs(bridge, tap, port.links)


def _outbound(bridge: Bridge, port: Port) -> str:
    return f"inet {bridge.table} outbound {{ {port.mac} }}"


def _pairs(bridge: Bridge, tap: str, others: Iterable[str]) -> list[str]:
    """Links, which are for both ways."""
    return [
        f'bridge {bridge.table} links {{ "{one}" . "{two}" }}'
        for other in others
        for one, two in ((tap, other), (other, tap))
    ]


def _guard(bridge: Bridge, port: Port) -> str:
    facts = {"table": bridge.table, "tap": port.tap, "mac": port.mac, "ip4": port.address.ip}
    text = _GUARD.format(**facts)
    if port.address6 is None:
        # Its kernel asks for routers at once: no lie
        return text + f"add rule bridge {bridge.table} {port.tap} ether type ip6 drop\n"
    own = (str(port.address6.ip), link_local(port.mac))
    return text + _GUARD6.format(
        **facts,
        addresses6=", ".join(own),
        own6=", ".join(_number(address) for address in own),
        mac_number="0x" + port.mac.replace(":", ""),
    )


def link_local(mac: str) -> str:
    """Return the link-local address that goes with a hardware address (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    middle = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return str(IPv6Address(b"\xfe\x80" + b"\0" * 6 + middle))


def _number(address: str) -> str:
    return hex(int(IPv6Address(address)))


def _family(why: str) -> str:
    return "bridge" if why in _BRIDGE_REASONS else "inet"
