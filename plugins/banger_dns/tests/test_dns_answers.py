"""What is answered, message by message."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdatatype
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banger_dns.answer import Answerer
from banger_dns.book import Name
from banger_dns.names import probe_address
from banger_dns.zone import Zones

MANY = [f"10.9.{high}.{low}" for high in range(3) for low in range(100)]


def name(label, *addresses, networks=()):
    return Name(name=label, vm_id=f"id-{label}", addresses=addresses, networks=networks)


NAMES = [
    name("web", "127.64.1.2"),
    name("both", "10.7.0.5", "fd00:7::5", networks=("10.7.0.5/24", "fd00:7::5/64")),
    name("odd", "10.8.0.130", networks=("10.8.0.130/25",)),
    name("many", *MANY),
]


def zones(**more):
    return Zones.of(NAMES, networks=["127.0.0.0/8"], token="secret", **more)


PLAIN = zones()


def answerer(**more):
    """One that remembers nothing yet."""
    return Answerer(zones(**more) if more else PLAIN)


def asked(question, kind="A", *, udp=True, answers=None, **more):
    """The answer to a question, twice the same: thought about, and remembered."""
    query = dns.message.make_query(question, kind, **more)
    answers = answers or answerer()
    first = answers.answer(query.to_wire(), udp=udp)
    query.id = (query.id + 1) & 0xFFFF
    second = answers.answer(query.to_wire(), udp=udp)
    assert first[2:] == second[2:]
    assert second[:2] == query.id.to_bytes(2)
    reply = dns.message.from_wire(second)
    assert query.is_response(reply)
    return reply


def texts(reply):
    return [str(record) for rrset in reply.answer for record in rrset]


def is_negative(reply, zone):
    (soa,) = reply.authority
    return not reply.answer and str(soa.name) == zone and soa.rdtype == dns.rdatatype.SOA


@pytest.mark.parametrize(
    ("question", "kind", "wanted"),
    [
        ("web.vm", "A", ["127.64.1.2"]),
        ("WEB.Vm", "A", ["127.64.1.2"]),
        ("both.vm", "A", ["10.7.0.5"]),
        ("both.vm", "AAAA", ["fd00:7::5"]),
        ("both.vm", "ANY", ["10.7.0.5", "fd00:7::5"]),
        ("2.1.64.127.in-addr.arpa", "PTR", ["web.vm."]),
        ("5.0.7.10.in-addr.arpa", "PTR", ["both.vm."]),
        ("1.0.0.127.in-addr.arpa", "PTR", ["localhost."]),
        ("vm", "NS", ["localhost."]),
    ],
)
def test_what_is_there(question, kind, wanted):
    reply = asked(question, kind)
    assert reply.rcode() == dns.rcode.NOERROR
    assert sorted(texts(reply)) == sorted(wanted)
    assert reply.flags & dns.flags.AA
    assert not reply.flags & dns.flags.RA
    assert all(rrset.ttl == 0 for rrset in reply.answer)


def test_reverse_name_of_version_6():
    reply = asked(dns.reversename.from_address("fd00:7::5").to_text(), "PTR")
    assert texts(reply) == ["both.vm."]


@pytest.mark.parametrize(
    ("question", "kind", "zone"),
    [
        ("web.vm", "AAAA", "vm."),
        ("web.vm", "TXT", "vm."),
        ("web.vm", "TYPE65280", "vm."),
        ("web.vm", "HTTPS", "vm."),
        ("vm", "A", "vm."),
        ("_probe.vm", "A", "vm."),
        # Nothing but names below it
        ("64.127.in-addr.arpa", "PTR", "127.in-addr.arpa."),
        ("2.1.64.127.in-addr.arpa", "A", "127.in-addr.arpa."),
    ],
)
def test_name_without_such_a_record(question, kind, zone):
    reply = asked(question, kind)
    assert reply.rcode() == dns.rcode.NOERROR
    assert is_negative(reply, zone)


@pytest.mark.parametrize(
    ("question", "zone"),
    [
        ("gone.vm", "vm."),
        ("a.web.vm", "vm."),
        ("eb.vm", "vm."),
        ("webb.vm", "vm."),
        ("a.b._probe.vm", "vm."),
        ("9.9.99.127.in-addr.arpa", "127.in-addr.arpa."),
        # A network whose prefix ends where zones can: all of it is ours
        ("9.0.7.10.in-addr.arpa", "0.7.10.in-addr.arpa."),
    ],
)
def test_name_that_is_not_there(question, zone):
    reply = asked(question)
    assert reply.rcode() == dns.rcode.NXDOMAIN
    assert is_negative(reply, zone)


@pytest.mark.parametrize(
    "question",
    [
        "example.com",
        "vm.example.com",
        "avm",
        ".",
        "8.8.8.8.in-addr.arpa",
        # Half a /24: the neighbours may be somebody else's
        "131.0.8.10.in-addr.arpa",
    ],
)
def test_name_of_somebody_else(question):
    reply = asked(question)
    assert reply.rcode() == dns.rcode.REFUSED
    assert not reply.answer + reply.authority
    assert not reply.flags & dns.flags.AA


@pytest.mark.parametrize(("kind", "rdclass"), [("A", "CH"), ("A", "ANY"), ("TXT", "HS")])
def test_other_class(kind, rdclass):
    assert asked("web.vm", kind, rdclass=rdclass).rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize(("kind", "code"), [("AXFR", "REFUSED"), ("MAILB", "NOTIMP")])
def test_zones_are_not_handed_out(kind, code):
    reply = asked("vm", kind, udp=False)
    assert dns.rcode.to_text(reply.rcode()) == code


def test_case_of_letters_comes_back_as_it_was_asked():
    reply = asked("wEb.vM", "AAAA")
    assert reply.question[0].name.to_text() == "wEb.vM."
    answers = answerer()
    for spelling in ("web.vm.", "WEB.vm.", "wEb.Vm."):
        reply = asked(spelling, answers=answers)
        assert reply.question[0].name.to_text() == spelling
        assert reply.answer[0].name.to_text() == spelling


def test_subdomains_follow_whole_labels():
    answers = answerer(subdomains=True)
    for question in ("api.web.vm", "a.b.web.vm", "*.web.vm"):
        reply = asked(question, answers=answers)
        assert texts(reply) == ["127.64.1.2"]
        assert reply.answer[0].name.to_text() == f"{question}."
    assert is_negative(asked("api.web.vm", "TXT", answers=answers), "vm.")
    for question in ("apiweb.vm", "xweb.vm", "api.gone.vm", "*.vm"):
        assert asked(question, answers=answers).rcode() == dns.rcode.NXDOMAIN


def test_probe_is_known_to_this_responder_alone():
    assert texts(asked("abc123._probe.vm")) == [probe_address("secret", "abc123")]
    assert texts(asked("abc123._probe.vm")) != [probe_address("other", "abc123")]
    assert is_negative(asked("abc123._probe.vm", "AAAA"), "vm.")


def test_long_answer_is_cut_over_udp_and_whole_over_tcp():
    cut = asked("many.vm")
    assert cut.flags & dns.flags.TC
    assert not cut.answer
    assert len(texts(asked("many.vm", udp=False))) == len(MANY)


@pytest.mark.parametrize(("payload", "most"), [(None, 512), (100, 512), (900, 900), (65535, 1232)])
def test_answer_is_as_long_as_the_asker_can_take(payload, most):
    few = name("few", *MANY[:40])
    answers = Answerer(Zones.of([few]))
    edns = {} if payload is None else {"use_edns": 0, "payload": payload}
    query = dns.message.make_query("few.vm", "A", **edns)
    wire = answers.answer(query.to_wire(), udp=True)
    assert len(wire) <= most
    assert bool(dns.message.from_wire(wire).flags & dns.flags.TC) == (most < 700)


def test_edns():
    reply = asked("web.vm", use_edns=0, want_dnssec=True)
    assert reply.edns == 0
    assert reply.payload == 1232
    assert asked("web.vm").edns == -1
    assert asked("web.vm", use_edns=1).rcode() == dns.rcode.BADVERS
    cookie = dns.edns.CookieOption(b"12345678", b"")
    assert texts(asked("web.vm", use_edns=0, options=[cookie])) == ["127.64.1.2"]


def wire_of(question="web.vm", kind="A", **more):
    # The same bytes in every process, as they are names of tests
    return dns.message.make_query(question, kind, id=4711, **more).to_wire()


def rcode_of(wire):
    reply = answerer().answer(wire, udp=True)
    assert reply is None or reply[:2] == wire[:2]
    return None if reply is None else dns.rcode.to_text(reply[3] & 0x0F)


def test_answers_are_not_answered():
    wire = bytearray(wire_of())
    wire[2] |= 0x80
    assert rcode_of(bytes(wire)) is None


@pytest.mark.parametrize("opcode", [1, 2, 3, 4, 5, 6, 15])
def test_other_opcode(opcode):
    wire = bytearray(wire_of())
    wire[2] = wire[2] & 0x87 | opcode << 3
    assert rcode_of(bytes(wire)) == "NOTIMP"


def with_counts(wire, *counts):
    return wire[:4] + b"".join(count.to_bytes(2) for count in counts) + wire[12:]


@pytest.mark.parametrize(
    "wire",
    [
        with_counts(wire_of(), 0, 0, 0, 0),
        with_counts(wire_of(), 2, 0, 0, 0),
        with_counts(wire_of(), 1, 0, 0, 1),
        with_counts(wire_of(), 1, 0, 0, 65535),
        with_counts(wire_of(), 65535, 65535, 65535, 65535),
        wire_of()[:-1],
        wire_of() + b"more",
        # A name that points to itself, one that points onwards, a label that is too long
        wire_of()[:12] + b"\xc0\x0c\0\1\0\1",
        wire_of()[:12] + b"\xc0\x20\0\1\0\1",
        wire_of()[:12] + b"\x40abc\0\0\1\0\1",
        wire_of()[:12] + b"\x3f" * 300,
        wire_of()[:12],
    ],
)
def test_malformed(wire):
    assert rcode_of(wire) == "FORMERR"


@pytest.mark.parametrize("wire", [b"", b"\0", bytes(11)])
def test_what_is_no_message_at_all(wire):
    assert rcode_of(wire) is None


def test_two_opt_records_are_malformed():
    wire = wire_of(use_edns=0)
    assert rcode_of(with_counts(wire, 1, 0, 0, 2) + wire[-11:]) == "FORMERR"


def test_signed_by_a_key_that_nobody_knows():
    query = dns.message.make_query("web.vm", "A")
    query.use_tsig({dns.name.from_text("key."): b"secret"})
    assert rcode_of(query.to_wire()) == "NOTAUTH"


def test_new_zones_count_at_once():
    answers = answerer()
    assert texts(asked("web.vm", answers=answers)) == ["127.64.1.2"]
    answers.replace(Zones.of([]))
    assert asked("web.vm", answers=answers).rcode() == dns.rcode.NXDOMAIN


def is_sane(wire, reply):
    """Whether an answer is one, to this message, and lets nobody amplify anything."""
    if reply is None:
        return True
    # Only the error of a header alone is shorter than what was asked
    assert reply[:2] == wire[:2]
    assert reply[2] & 0x80
    assert len(reply) <= 1232
    dns.message.from_wire(reply)
    return True


VALID = [wire_of(), wire_of("both.vm", "ANY", use_edns=0), wire_of("a.b.c.vm", "TXT", use_edns=0)]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=600))
def test_any_bytes(wire):
    assert is_sane(wire, answerer().answer(wire, udp=True))


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from(VALID),
    st.lists(st.tuples(st.integers(0, 80), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, 80),
)
def test_changed_bytes(wire, changes, cut):
    changed = bytearray(wire)
    for place, value in changes:
        changed[place % len(changed)] = value
    message = bytes(changed[: len(changed) - cut]) if cut < 20 else bytes(changed)
    answers = answerer()
    assert is_sane(message, answers.answer(message, udp=True))
    # Whatever it was, the next one is answered as ever
    assert texts(asked("web.vm", answers=answers)) == ["127.64.1.2"]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_memory_changes_no_answer(data):
    """A question gets the same answer, remembered or not, after any other questions."""
    words = st.sampled_from(
        ["web", "WEB", "wEb", "both", "gone", "vm", "VM", "a", "\\000a", "A\\000A"]
    )
    names = st.lists(words, min_size=1, max_size=4).map(".".join)
    kinds = st.sampled_from(["A", "AAAA", "TXT", "TYPE65", "TYPE97", "TYPE16705", "TYPE24929"])
    answers = answerer()
    for _ in range(6):
        query = dns.message.make_query(data.draw(names), data.draw(kinds), id=7)
        wire = query.to_wire()
        remembered = dns.message.from_wire(answers.answer(wire, udp=True))
        fresh = dns.message.from_wire(answerer().answer(wire, udp=True))
        assert remembered == fresh
        assert remembered.question[0].name.labels == query.question[0].name.labels
