"""What there is to be answered: the zones and the records of their names.

Follows RFC 1034 (4.3.2, how a name is looked for), RFC 2308 (negative answers), RFC 4592
(wildcards), RFC 6303 (what is said of 127.0.0.0/8) and RFC 8020 (nothing is below a name that does
not exist).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

import dns.name
import dns.rdata
import dns.rdataset
import dns.rdatatype
import dns.reversename
import dns.rrset

from banger_dns.book import Name
from banger_dns.names import PROBE, ZONE, probe_address, reverse_zone

_LOCALHOST = dns.name.from_text("localhost.")
_NOBODY = dns.name.from_text("nobody.invalid.")
_VM = dns.name.from_text(f"{ZONE}.")
_PROBES = dns.name.from_text(PROBE, _VM)
_WILD = dns.name.from_text("*", None)

Records = dict[dns.rdatatype.RdataType, dns.rdataset.Rdataset]


@dataclass(frozen=True, slots=True)
class Found:
    """What a look-up gave. ``zone`` is None for names that are none of ours, ``records`` None for
    those that do not exist. ``fixed`` says that the same question gets the same answer.
    """

    zone: dns.name.Name | None = None
    records: Records | None = None
    fixed: bool = True


@dataclass(slots=True)
class Zones:
    """All zones. ``networks`` are those whose reverse names are ours in full."""

    ttl: int
    token: str = ""
    serial: int = 1
    _apexes: set[dns.name.Name] = field(default_factory=set)
    _nodes: dict[dns.name.Name, Records] = field(default_factory=dict)
    _head: Records = field(default_factory=dict)

    def __post_init__(self) -> None:
        soa = f"{_LOCALHOST} {_NOBODY} {self.serial} 3600 1200 604800 {self.ttl}"
        for kind, text in (("SOA", soa), ("NS", str(_LOCALHOST))):
            made = dns.rdataset.from_text("IN", kind, self.ttl, text)
            self._head[made.rdtype] = made

    @classmethod
    def of(
        cls,
        names: Iterable[Name],
        *,
        networks: Iterable[str] = (),
        ttl: int = 0,
        subdomains: bool = False,
        token: str = "",
        serial: int = 1,
    ) -> Zones:
        """Build the zones of ``names``. ``token`` decides the addresses of probes."""
        zones = cls(ttl, token, serial)
        zones._start(_VM)
        zones._node(_PROBES)
        for network in networks:
            zones._start(dns.name.from_text(reverse_zone(network)))
        localhost = dns.reversename.from_address("127.0.0.1")
        if zones._apex(localhost) is not None:
            zones._add(localhost, "PTR", "localhost.")
        for name in names:
            zones._add_vm(name, subdomains=subdomains)
        return zones

    def find(self, name: dns.name.Name) -> Found:
        """Look ``name`` up. Letters' case plays no part."""
        zone = self._apex(name)
        if zone is None:
            return Found()
        if name.is_subdomain(_PROBES) and name != _PROBES:
            return Found(zone, self._probe(name), fixed=False)
        records = self._nodes.get(name)
        if records is None:
            closest = name
            while closest not in self._nodes:
                closest = closest.parent()
            records = self._nodes.get(_WILD.derelativize(closest))
        return Found(zone, records)

    def soa(self, zone: dns.name.Name) -> dns.rrset.RRset:
        """The record that says for how long it may be remembered that something is not there."""
        return dns.rrset.from_rdata_list(zone, self.ttl, [*self._head[dns.rdatatype.SOA]])

    def _apex(self, name: dns.name.Name) -> dns.name.Name | None:
        while name not in self._apexes:
            if name == dns.name.root:
                return None
            name = name.parent()
        return name

    def _start(self, apex: dns.name.Name) -> None:
        self._apexes.add(apex)
        self._node(apex).update(self._head)

    def _node(self, name: dns.name.Name) -> Records:
        """The records of ``name``; all names between it and its zone exist, too."""
        records = self._nodes.setdefault(name, {})
        while name not in self._apexes:
            name = name.parent()
            self._nodes.setdefault(name, {})
        return records

    def _add(self, name: dns.name.Name, kind: str, text: str) -> None:
        data = dns.rdata.from_text("IN", kind, text)
        records = self._node(name)
        if data.rdtype not in records:
            records[data.rdtype] = dns.rdataset.Rdataset(data.rdclass, data.rdtype)
        records[data.rdtype].add(data, self.ttl)

    def _add_vm(self, vm: Name, *, subdomains: bool) -> None:
        own = dns.name.from_text(vm.name, _VM)
        for text in vm.addresses:
            address = ipaddress.ip_address(text)
            kind = "A" if address.version == 4 else "AAAA"
            self._add(own, kind, text)
            if subdomains:
                self._add(_WILD.derelativize(own), kind, text)
            reverse = dns.reversename.from_address(text)
            if self._apex(reverse) is None:
                self._start(_own_reverse_zone(reverse, text, vm.networks))
            self._add(reverse, "PTR", str(own))

    def _probe(self, name: dns.name.Name) -> Records | None:
        nonce = name.relativize(_PROBES)
        if len(nonce) != 1:
            return None
        address = probe_address(self.token, nonce.to_text().lower())
        return {dns.rdatatype.A: dns.rdataset.from_text("IN", "A", 0, address)}


def _own_reverse_zone(
    reverse: dns.name.Name, address: str, networks: Iterable[str]
) -> dns.name.Name:
    """The zone of a reverse name outside the configured networks: that of the network where zones
    can end there, else of the address alone, since its neighbours may be somebody else's.
    """
    for text in networks:
        network = ipaddress.ip_network(text, strict=False)
        whole = network.prefixlen % (8 if network.version == 4 else 4) == 0
        if ipaddress.ip_address(address) in network and whole and network.prefixlen:
            return dns.name.from_text(reverse_zone(str(network)))
    return reverse
