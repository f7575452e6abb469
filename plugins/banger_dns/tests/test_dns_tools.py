"""A responder at work, judged by dig, kdig and drill."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess

import pytest
from dns_house import House, free_port, name

from banger_core.testing.context import FakeContext

TOOLS = {
    "dig": ["dig", "+tries=1", "+time=60"],
    "kdig": ["kdig", "+retry=0", "+time=60"],
    "drill": ["drill"],
}
MANY = [f"10.9.{high}.{low}" for high in range(3) for low in range(100)]

needs_tools = pytest.mark.skipif(
    not all(map(shutil.which, TOOLS)), reason="dig, kdig or drill is not installed"
)
pytestmark = needs_tools


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """One responder for all of them."""
    place = tmp_path_factory.mktemp("tools")
    place.chmod(0o700)
    cx = FakeContext(place, {"port": free_port(), "subdomains": True})
    made = House(cx)
    try:
        made.tend()
        assert made.ask("status")["responder"]["pid"]
        made.enter(
            name("web", "127.64.1.2"),
            name("both", "10.7.0.5", "fd00:7::5", networks=("10.7.0.5/24", "fd00:7::5/64")),
            name("many", *MANY),
        )
        wait_for(made, "many.vm")
        yield made
    finally:
        cx.close()


def wait_for(house, question):
    for _ in range(200):
        if "NOERROR" in dig(house, question):
            return
    raise AssertionError(dig(house, question))


def run(argv):
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=90).stdout


def dig(house, *words):
    return run([*TOOLS["dig"], f"@{house.address}", "-p", str(house.port), *words])


def ask(tool, house, question, kind, *words):
    """What a tool shows for a question."""
    if tool == "drill":
        return run(["drill", "-p", str(house.port), *words, f"@{house.address}", question, kind])
    return run([*TOOLS[tool], f"@{house.address}", "-p", str(house.port), *words, question, kind])


def status(shown):
    return re.search(r"(?:status|rcode): (\w+)", shown)[1]


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize(
    ("question", "kind", "code", "wanted"),
    [
        ("web.vm", "A", "NOERROR", "127.64.1.2"),
        ("both.vm", "AAAA", "NOERROR", "fd00:7::5"),
        ("api.web.vm", "A", "NOERROR", "127.64.1.2"),
        ("web.vm", "AAAA", "NOERROR", "SOA"),
        ("gone.vm", "A", "NXDOMAIN", "SOA"),
        ("example.com", "A", "REFUSED", ""),
        ("vm", "SOA", "NOERROR", "nobody.invalid."),
    ],
)
def test_answers(house, tool, question, kind, code, wanted):
    shown = ask(tool, house, question, kind)
    assert status(shown) == code, shown
    assert wanted in shown


@pytest.mark.parametrize("tool", TOOLS)
def test_reverse_names(house, tool):
    server = [f"@{house.address}", "-p", str(house.port)]
    for address, wanted in (("127.64.1.2", "web.vm."), ("fd00:7::5", "both.vm.")):
        words = (
            [*server[1:], "-x", server[0], address] if tool == "drill" else [*server, "-x", address]
        )
        assert wanted in run([*TOOLS[tool], *words])


@pytest.mark.parametrize(("tool", "tcp"), [("dig", "+tcp"), ("kdig", "+tcp"), ("drill", "-t")])
def test_over_tcp(house, tool, tcp):
    shown = ask(tool, house, "web.vm", "A", tcp)
    assert status(shown) == "NOERROR"
    assert "127.64.1.2" in shown


@pytest.mark.parametrize("tool", TOOLS)
def test_long_answer_comes_over_tcp(house, tool):
    # dig and kdig ask again by themselves when an answer was cut
    shown = ask(tool, house, "many.vm", "A", *(["-t"] if tool == "drill" else []))
    assert all(re.search(rf"\s{re.escape(address)}\s", shown) for address in MANY), shown[:500]


def test_cut_answer_says_so(house):
    shown = dig(house, "+ignore", "+notcp", "many.vm", "A")
    assert re.search(r"flags: qr aa tc rd", shown), shown


def test_edns(house):
    assert "EDNS: version: 0" in dig(house, "+edns=0", "web.vm")
    assert "udp: 1232" in dig(house, "+edns=0", "web.vm")
    shown = dig(house, "+edns=1", "+noednsneg", "web.vm")
    assert status(shown) == "BADVERS"
    assert "OPT PSEUDOSECTION" not in dig(house, "+noedns", "+nocookie", "web.vm")


def test_case_is_kept(house):
    assert dig(house, "wEB.vM").count("wEB.vM.") == 2


def test_other_classes_and_opcodes(house):
    assert status(dig(house, "-c", "CH", "version.bind", "TXT")) == "REFUSED"
    assert status(dig(house, "+opcode=status", "web.vm")) == "NOTIMP"
    assert status(dig(house, "+opcode=notify", "vm", "SOA")) == "NOTIMP"
    assert status(dig(house, "+header-only")) == "FORMERR"


def test_zone_is_not_handed_out(house):
    assert "Transfer failed" in dig(house, "vm", "AXFR")
    assert status(ask("drill", house, "vm", "AXFR")) == "REFUSED"


def test_several_questions_in_one_connection(house):
    import dns.message

    queries = [dns.message.make_query(f"{word}.vm", "A") for word in ("web", "gone", "both")]
    with socket.create_connection((house.address, house.port), timeout=60) as connection:
        file = connection.makefile("rb")
        # All at once, and cut where it suits nobody
        whole = b"".join(len(q.to_wire()).to_bytes(2) + q.to_wire() for q in queries)
        for piece in (whole[:1], whole[1:20], whole[20:]):
            connection.sendall(piece)
        for query in queries:
            reply = dns.message.from_wire(file.read(int.from_bytes(file.read(2))))
            assert query.is_response(reply)
        # What is too short to be a message ends it
        connection.sendall(b"\0\1x")
        assert file.read() == b""


def test_nonsense_harms_nobody(house):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for junk in (b"", b"x", bytes(11), bytes(12), b"\xff" * 1000, bytes(4096)):
            stranger.sendto(junk, (house.address, house.port))
    with socket.create_connection((house.address, house.port), timeout=60) as connection:
        connection.sendall(b"\xff\xff" + b"\xff" * 100)
    assert "127.64.1.2" in dig(house, "web.vm")
