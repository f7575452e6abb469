"""Messages in, messages out: RFC 1035 and what became of it. Nothing here waits or fails.

dnspython reads and writes messages. What was asked before, letter for letter but for their case,
is answered from memory.
"""

from __future__ import annotations

import logging
from typing import Any

import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from banger_dns.zone import Found, Zones

HEADER = 12
UDP_PLAIN = 512
"""Longest answer over UDP to who does not say that longer ones are welcome (RFC 1035, 4.2.1)."""

UDP_MOST = 1232
"""Longest answer over UDP at all: fits into one packet of IPv6 everywhere (RFC 9715)."""

REMEMBERED = 4096
"""How many answers are kept."""

_MOST_RECORDS = 8
"""Questions come with hardly anything but themselves; what brings more is not read."""

_KEPT_BITS = 0x7910
"""Of a question's flags, those that an error has too: opcode, RD and CD."""

log = logging.getLogger("banger.dns")


class Answerer:
    """Answers from ``zones``."""

    def __init__(self, zones: Zones) -> None:
        self._zones = zones
        self._known: tuple[dict[bytes, bytes], dict[bytes, bytes]] = ({}, {})

    def replace(self, zones: Zones) -> None:
        """Answer from ``zones`` from now on."""
        self._zones = zones
        self._known = ({}, {})

    def answer(self, wire: bytes, *, udp: bool) -> bytes | None:
        """Return the answer to one message, or None when it deserves none."""
        end = wire.find(b"\0", HEADER)
        # Letters in a name differ in case only; the bytes of lengths are no letters
        key = wire[2:HEADER] + wire[HEADER:end].lower() + wire[end:]
        known = self._known[udp].get(key)
        if known is not None:
            return wire[:2] + known[:10] + wire[HEADER:end] + known[10 + end - HEADER :]
        try:
            reply, fixed = self._think(wire, udp=udp)
        except Exception:
            # Whatever a stranger sends, the others go on being answered
            log.exception("no answer to %s", wire[:512].hex())
            return _bare(wire, dns.rcode.SERVFAIL)
        if fixed and reply and reply[HEADER:end] == wire[HEADER:end]:
            if len(self._known[udp]) >= REMEMBERED:
                self._known[udp].clear()
            self._known[udp][key] = reply[2:]
        return reply

    def _think(self, wire: bytes, *, udp: bool) -> tuple[bytes | None, bool]:
        """The answer, and whether the same message gets the same answer."""
        if len(wire) < HEADER or wire[2] & 0x80:
            # An answer to an answer could go on for ever
            return None, False
        if (wire[2] >> 3) & 0x0F != dns.opcode.QUERY:
            return _bare(wire, dns.rcode.NOTIMP), False
        questions, *others = (
            int.from_bytes(wire[place : place + 2]) for place in range(4, HEADER, 2)
        )
        if questions != 1 or sum(others) > _MOST_RECORDS:
            return _bare(wire, dns.rcode.FORMERR), False
        try:
            query = dns.message.from_wire(wire)
        except (dns.message.UnknownTSIGKey, dns.message.BadTSIG):
            return _bare(wire, dns.rcode.NOTAUTH), False
        except (dns.exception.DNSException, ValueError):
            return _bare(wire, dns.rcode.FORMERR), False
        return self._reply(query, udp=udp)

    def _reply(self, query: dns.message.Message, *, udp: bool) -> tuple[bytes, bool]:
        reply = dns.message.make_response(query, our_payload=UDP_MOST)
        reply.flags |= query.flags & dns.flags.CD
        found = Found()
        if query.edns > 0:
            reply.set_rcode(dns.rcode.BADVERS)
        else:
            found = self._fill(reply, query.question[0])
        limit = 65535
        if udp:
            wanted = query.payload if query.edns >= 0 else UDP_PLAIN
            limit = max(UDP_PLAIN, min(wanted, UDP_MOST))
        return _fit(reply, limit), found.fixed and not query.options

    def _fill(self, reply: dns.message.Message, question: Any) -> Found:
        kind = question.rdtype
        found = Found()
        if question.rdclass == dns.rdataclass.IN and kind not in _TRANSFERS:
            found = self._zones.find(question.name)
        if found.zone is None:
            reply.set_rcode(dns.rcode.REFUSED)
            return found
        if dns.rdatatype.is_metatype(kind) and kind != dns.rdatatype.ANY:
            reply.set_rcode(dns.rcode.NOTIMP)
            return found
        reply.flags |= dns.flags.AA
        chosen = [
            records
            for rdtype, records in (found.records or {}).items()
            if kind in (rdtype, dns.rdatatype.ANY)
        ]
        reply.answer = [
            dns.rrset.from_rdata_list(question.name, records.ttl, [*records]) for records in chosen
        ]
        if not chosen:
            reply.authority = [self._zones.soa(found.zone)]
        if found.records is None:
            reply.set_rcode(dns.rcode.NXDOMAIN)
        return found


_TRANSFERS = (dns.rdatatype.AXFR, dns.rdatatype.IXFR)


def _fit(reply: dns.message.Message, limit: int) -> bytes:
    """The bytes of ``reply``; when they are more than ``limit``, those that say: ask over TCP."""
    wire = reply.to_wire(max_size=65535)
    if len(wire) <= limit:
        return wire
    reply.answer, reply.authority, reply.additional = [], [], []
    reply.flags |= dns.flags.TC
    return reply.to_wire(max_size=65535)


def _bare(wire: bytes, rcode: int) -> bytes | None:
    """A header that says what is wrong, with nothing of the question."""
    if len(wire) < HEADER:
        return None
    flags = 0x8000 | (int.from_bytes(wire[2:4]) & _KEPT_BITS) | rcode
    return wire[:2] + flags.to_bytes(2) + bytes(8)
