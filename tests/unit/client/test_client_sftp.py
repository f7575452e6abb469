"""The client of SFTP against a server that lies, floods, stalls and hangs up."""

from __future__ import annotations

import sys

import pytest

from banger_core.client import copy_out
from banger_core.client.copy import DEPTH_MAX, Options
from banger_core.client.copy_out import CopyOut, local_target
from banger_core.client.sftp import Sftp, subsystem
from banger_core.client.sftp_wire import Attributes, Fields, Refused, check_name
from banger_core.errors import GuestFailed, HostileInput, Interrupted

LIAR = r"""
import os, struct, sys, time

how = sys.argv[1]
n32, n64 = (lambda n: struct.pack(">I", n)), (lambda n: struct.pack(">Q", n))
text = lambda b: n32(len(b)) + b

def say(data):
    os.write(1, text(data))

def attributes(mode, size=0):
    return n32(1 | 4) + n64(size) + n32(mode)

def hear():
    head = sys.stdin.buffer.read(4)
    if not head:
        sys.exit()
    frame = sys.stdin.buffer.read(int.from_bytes(head, "big"))
    return frame[0], frame[1:5], frame[5:]

RAW = {"text": b"Welcome to the machine!\n", "huge": n32(1 << 31), "empty": n32(0)}
hear_init = sys.stdin.buffer.read(9)
if how in RAW:
    os.write(1, RAW[how])
    hear()
if how == "loud":
    sys.stderr.write("no\n" * 300_000)
    sys.exit("the last word")
if how == "gone":
    sys.exit("Permission denied (publickey).")
if how == "mute":
    hear()
say(b"\2" + n32(2 if how == "old" else 3))

NAMES = {"climbing": b"../x", "absolute": b"/etc/x", "nested": b"a/b", "nameless": b"",
         "nul": b"a\0b", "long": b"x" * 256, "deep": b"d"}
SIZES = {"shrinking": 10, "immense": 1 << 63, "endless": 0}
EOF_ = lambda i: b"\x65" + i + n32(1) + text(b"") + text(b"")
listed = set()
count = 0
while True:
    kind, i, rest = hear()
    count += 1
    directory = how in NAMES or how in ("none", "million", "mode")
    if kind == 17:  # STAT
        if how == "stranger":
            i = n32(77)
        if how == "stall":
            continue
        if how == "kind":
            say(b"\x66" + i + text(b"h"))
        elif how == "cut":
            say(b"\x69" + i + n32(1) + b"123")
        elif how == "fine":
            say(b"\x65" + i + n32(0) + text(b"") + text(b""))
        elif how == "flood":
            for at in range(100000):
                say(b"\x65" + n32(at + 1000) + n32(0))
        elif how == "words":
            say(b"\x65" + i + n32(4) + text(b"\x1b[31mboo\n" + b"x" * 500) + text(b""))
        elif how == "many":
            say(b"\x69" + i + n32(0x80000000) + n32(0xFFFFFFFF))
        else:
            mode = 0o40755 if directory else 0o100644
            say(b"\x69" + i + attributes(mode, SIZES.get(how, 5)))
    elif kind == 11:  # OPENDIR: the handle tells the directories apart
        say(b"\x66" + i + text(n32(count)))
    elif kind == 12:
        handle = rest
        if how in ("none", "million"):
            say(b"\x68" + i + n32(0 if how == "none" else 1000000))
        elif handle in listed:
            say(EOF_(i))
        else:
            listed.add(handle)
            name = NAMES.get(how, b"file")
            mode = 0o40755 if how == "deep" else 0o100644
            known = n32(0) if how == "mode" else attributes(mode, 5)
            say(b"\x68" + i + n32(1) + text(name) + text(b"") + known)
    elif kind == 3:
        say(b"\x66" + i + text(b"h" * (300 if how == "handle" else 4)))
    elif kind == 5:
        offset = int.from_bytes(rest[-12:-4], "big")
        if how == "shrinking" and offset >= 5:
            say(EOF_(i))
        elif how == "shrinking":
            say(b"\x67" + i + text(b"12345"))
        elif how == "endless":
            say(b"\x67" + i + text(b"x" * int.from_bytes(rest[-4:], "big")))
        elif how == "more":
            say(b"\x67" + i + text(b"x" * 6))
        elif how == "less":
            say(b"\x67" + i + text(b""))
        elif how == "big":
            say(b"\x67" + i + text(b"x" * 300000))
    elif kind == 4:
        say(b"\x65" + i + n32(0) + text(b"") + text(b""))
"""


@pytest.fixture
def liar(tmp_path):
    program = tmp_path / "liar.py"
    program.write_text(LIAR)

    def fetch(how, *, stall=20.0, stopped=lambda: 0):
        (tmp_path / "into").mkdir()
        argv = [sys.executable, "-IS", str(program), how]
        with Sftp(argv, "web", stall=stall, stopped=stopped) as session:
            work = CopyOut(session, "web", Options(), lambda *_: None)
            work.fetch([b"/x"], *local_target(str(tmp_path / "into"), many=False))
        return work.summary

    return fetch


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("text", "sent what is not SFTP"),
        ("huge", "sent what is not SFTP"),
        ("empty", "sent what is not SFTP"),
        ("stranger", "answered what nobody asked"),
        ("flood", "answered what nobody asked"),
        ("kind", "of kind 102 to another question"),
        ("fine", "of kind 101 to another question"),
        ("cut", "cut off"),
        ("many", "cut off"),
        ("none", "sent 0 names"),
        ("million", "sent 1000000 names"),
        ("climbing", "named a file b'../x'"),
        ("absolute", "named a file b'/etc/x'"),
        ("nested", "named a file b'a/b'"),
        ("nameless", "named a file b''"),
        ("nul", r"named a file b'a\\x00b'"),
        ("long", "named a file b'xxx"),
        ("handle", "a handle of 300 bytes"),
        ("more", "sent 6 bytes instead of 5"),
        ("less", "sent 0 bytes instead of 5"),
        ("big", "sent what is not SFTP"),
    ],
)
def test_a_server_that_breaks_the_rules_is_left(liar, tmp_path, how, said):
    with pytest.raises(HostileInput, match=said):
        liar(how)
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("into", "liar.py")] == []
    assert not list((tmp_path / "into").glob("*.part"))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("shrinking", "it became shorter while it was copied"),
        ("immense", "the machine says that it has 9223372036854775808 bytes"),
        ("endless", "it has no size, and does not end"),
        ("mode", "the machine does not say what it is"),
        ("deep", f"there are more than {DEPTH_MAX} directories below each other"),
    ],
)
def test_a_file_that_is_not_what_was_said_fails_alone(liar, tmp_path, monkeypatch, how, said):
    monkeypatch.setattr(copy_out, "UNSIZED_MAX", 1 << 20)
    summary = liar(how)
    assert [why for _, why in summary.failed] == [said]
    assert not [path for path in (tmp_path / "into").rglob("*") if path.is_file()]


def test_what_a_server_says_is_shortened_and_printable(liar):
    ((_, why),) = liar("words").failed
    assert why.isprintable()
    assert len(why) < 120


@pytest.mark.parametrize("how", ["mute", "stall"])
def test_a_server_that_says_nothing_is_given_up(liar, how):
    with pytest.raises(GuestFailed, match="web stopped answering"):
        liar(how, stall=0.3)


def test_a_server_that_hangs_up_is_quoted(liar):
    with pytest.raises(GuestFailed) as caught:
        liar("gone")
    assert caught.value.summary == "the connection to web was lost"
    assert caught.value.cause == "Permission denied (publickey)."


def test_what_is_said_beside_the_protocol_is_taken_and_forgotten(liar):
    with pytest.raises(GuestFailed) as caught:
        liar("loud")
    assert caught.value.cause == "the last word"


def test_another_version_is_no_version(liar):
    with pytest.raises(GuestFailed, match="version 3"):
        liar("old")


def test_a_signal_ends_the_waiting(liar):
    with pytest.raises(Interrupted):
        liar("mute", stopped=lambda: 15)


def test_the_command_line_starts_the_subsystem_and_forwards_nothing():
    argv = subsystem(["ssh", "-F", "none", "root@host"])
    assert argv[:3] == ["ssh", "-T", "-s"]
    assert argv[-4:] == ["-F", "none", "root@host", "sftp"]
    assert "ForwardAgent=no" in argv


def test_attributes_come_back_as_they_were():
    packed = Attributes(size=1 << 40, mode=0o644, mtime=7, atime=8).pack()
    assert Fields(packed).attributes() == Attributes(1 << 40, 0o644, 7, 8)
    assert Fields(Attributes().pack()).attributes() == Attributes()
    assert Fields(Attributes(mtime=-5).pack()).attributes().mtime == 0


def test_refusals_are_words():
    assert Refused(2).summary == "no such file or directory"
    assert Refused(4, "Failure").summary == "the machine said 'Failure'"


def test_names_of_files_may_be_odd():
    for name in (b"-rf", b"new\nline", b"\xff", b"...", b" "):
        assert check_name(name) == name


def test_sizes_of_requests_are_those_of_the_server():
    with Sftp(["/usr/lib/openssh/sftp-server"], "web") as session:
        assert b"posix-rename@openssh.com" in session.extensions
        assert 32 * 1024 < session.write_size <= 256 * 1024
