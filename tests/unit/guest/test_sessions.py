"""The guest's side of sessions, run by this host's shells, with the image's place taken by one."""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from importlib.resources import files
from itertools import pairwise

import pytest
from terminals import Person

from banger_core.client.guest_sessions import parse_sessions
from banger_core.guest.elf import NAMES
from banger_core.guest.programs import small_program

RING, PIECE = 1 << 18, 4096

SHELLS = ["sh", *(["busybox sh"] if shutil.which("busybox") else [])]

ENTER = """\
echo $$ >&4
exec 4>&-
eval "set -- $2"
exec "$@"
"""


class Guest:
    """``login`` as the SSH server of a guest would start it."""

    def __init__(self, place, shell):
        self.runs, self._login = place / "run", [*shell.split(), str(place / "login")]
        self.runs.mkdir(mode=0o700)
        (place / "enter").write_text(ENTER)
        program, *applet = shell.split()
        path = " ".join([str(shutil.which(program)), *applet])
        machine = {name: number for number, name in NAMES.items()}[platform.machine()]
        for name in ("keep", "show"):
            (place / name).write_bytes(small_program(name, machine))
            (place / name).chmod(0o755)
        for name in ("login", "session"):
            text = (files("banger_core.guest") / "files" / name).read_text()
            text = re.sub(r"(?m)^until \[ -s /run/up.*", "", text)
            text = re.sub(r'inside=".*"', f'inside="{path} {place}/enter"', text)
            text = text.replace(
                "/run/banger/bin/busybox sh /run/banger/enter ", f"{path} {place}/enter "
            )
            text = text.replace("/run/sessions", str(self.runs))
            text = re.sub(r"/banger/(session|keep|show)\b", rf"{place}/\1", text)
            (place / name).write_text(text)

    def __call__(self, request, data=b""):
        return subprocess.run(
            self.argv(request),
            input=data, capture_output=True, timeout=60, check=False,
        )  # fmt: skip

    def popen(self, request):
        pipe = subprocess.PIPE
        return subprocess.Popen(self.argv(request), stdin=pipe, stdout=pipe, stderr=pipe)

    def argv(self, request):
        # This process may have been told of the size of a terminal, and not know it itself
        tidy = ["env", "-u", "LINES", "-u", "COLUMNS"]
        return [*tidy, *self._login, "-c", f"banger-session {request}"]

    def ok(self, request, data=b"", errors="strict"):
        done = self(request, data)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode(errors=errors)

    def states(self):
        return {
            each.name: (each.state, each.status) for each in parse_sessions(self.ok("list"), "web")
        }

    def log(self, name, wanted, errors="strict"):
        deadline = time.monotonic() + 60
        while wanted not in (log := self.ok(f"logs {name} 9999", errors=errors)):
            assert time.monotonic() < deadline, log
            time.sleep(0.02)
        return log


@pytest.fixture(params=SHELLS)
def guest(request, tmp_path):
    made = Guest(tmp_path, request.param)
    yield made
    for name, (state, _) in made.states().items():
        if state == "running":
            made.ok(f"stop {name} 0")


def test_a_session_takes_input_until_its_end(guest):
    assert guest.ok("list") == ""
    guest.ok("start one pipe sh -c 'while read x; do echo \"got $x\"; done; echo bye; exit 5'")
    assert guest.states() == {"one": ("running", None)}
    guest.ok("send one", b"a  b\n")
    assert guest.log("one", "got a") == "got a  b\n"
    guest.ok("send one eof", b"last\n")
    assert guest.log("one", "bye").endswith("got last\nbye\n")
    follower = guest.popen("follow one 4")
    assert follower.communicate(timeout=60)[0] == b"bye\n"
    assert guest.states() == {"one": ("ended", 5)}
    assert guest("send one", b"more").returncode == 2
    guest.ok("remove one")
    assert guest.states() == {}
    assert list(guest.runs.iterdir()) == []


def test_a_terminal_is_one(guest):
    guest.ok("start t tty sh -c 'tty; stty size; cat; exit 4'")
    # The terminal shows what is sent at once, whatever the program is at
    guest.log("t", "24 80\r\n")
    guest.ok("send t", b"hey\n")
    assert re.match(r"/dev/pts/\d+\r\n24 80\r\n", guest.log("t", "hey\r\nhey\r\n"))
    attached = guest.popen("attach t")
    attached.stdin.write(b"more\n\x04")
    attached.stdin.flush()
    assert attached.wait(timeout=60) == 4
    assert attached.communicate()[0].endswith(b"more\r\nmore\r\n")


def test_stop_asks_first(guest):
    guest.ok("start kind pipe sh -c 'trap \"exit 3\" TERM; echo up; while :; do sleep 0.05; done'")
    guest.log("kind", "up")
    assert guest.ok("stop kind 20") == "stopped 3\n"
    guest.ok(
        "start deaf pipe sh -c 'trap \"\" TERM; echo up; sleep 99 & while :; do sleep 1; done'"
    )
    guest.log("deaf", "up")
    assert guest.ok("stop deaf 0") == "killed 137\n"
    assert guest.states() == {"kind": ("ended", 3), "deaf": ("ended", 137)}


def test_only_the_end_of_a_log_is_kept(guest):
    guest.ok("start long pipe sh -c 'seq 200000; echo the end'")
    followed = guest.popen("follow long 99").communicate(timeout=60)[0].splitlines()
    assert followed[-2:] == [b"200000", b"the end"]
    kept = guest.ok("logs long 1048576").splitlines()
    assert kept[1:-1] == [str(number) for number in range(int(kept[1]), 200001)]
    assert len(guest.ok("logs long 9999999")) == RING - PIECE
    assert (guest.runs / "long" / "log").stat().st_size == RING + 8


def test_a_slow_follower_misses_a_part_and_no_more(guest):
    guest.ok("start flood pipe sh -c 'seq 300000; read x; seq 300001 500000'")
    follower = guest.popen("follow flood 10")
    first = follower.stdout.read(4)
    guest.log("flood", "\n300000\n")
    guest.ok("send flood", b"on\n")
    guest.log("flood", "\n500000\n")
    numbers = [int(line) for line in (first + follower.communicate(timeout=60)[0]).splitlines()[1:]]
    assert numbers[-1] == 500000
    jumps = [(a, b) for a, b in pairwise(numbers) if b != a + 1]
    # Nothing is missed before there is no room for it
    written = sum(len(f"{number}\n") for number in range(1, 500001))
    assert len(jumps) <= written // (RING - 2 * PIECE)


def test_names_are_taken_once_and_free_again(guest):
    guest.ok("start one pipe sleep 99")
    done = guest("start one pipe true")
    assert (done.returncode, done.stderr) == (2, b"banger: the session one runs already\n")
    assert guest("remove one").returncode == 2
    guest.ok("stop one 5")
    guest.ok("start one pipe echo again")
    guest.log("one", "again")


def test_of_those_that_ended_the_oldest_make_room(guest):
    (guest.runs.parent / "session").write_text(
        (guest.runs.parent / "session").read_text().replace("most=32", "most=2")
    )
    guest.ok("start stays pipe sleep 99")
    for name in ("a", "b"):
        guest.ok(f"start {name} pipe true")
        guest.popen(f"follow {name} 1").communicate(timeout=60)
    assert set(guest.states()) == {"stays", "b"}
    guest.ok("start more pipe sleep 99")
    assert set(guest.states()) == {"stays", "more"}
    done = guest("start c pipe true")
    assert done.stderr == b"banger: 2 sessions run already\n"


def test_the_end_of_input_is_the_end(guest):
    guest.ok("start one pipe sh -c 'cat; echo over; sleep 99'")
    with guest.popen("attach one") as attached:
        # Whoever is attached could type more
        attached.stdin.write(b"hey\n")
        attached.stdin.flush()
        assert attached.stdout.readline() == b"hey\n"
        guest.ok("send one eof", b"\x00\xff\n")
        guest.log("one", "over", errors="replace")
        assert attached.poll() is None
        attached.kill()
    follower = guest.popen("follow one 99")
    assert follower.stdout.read(12) == b"hey\n\x00\xff\nover\n"
    follower.kill()
    follower.communicate()
    done = guest("send one", b"more")
    assert done.stderr == b"banger: the input of the session one has ended\n"


def test_whoever_reads_no_more_is_sent_nothing(guest):
    guest.ok("start one pipe sh -c 'exec <&-; echo closed; sleep 99'")
    guest.log("one", "closed")
    done = guest("send one", b"more")
    assert done.stderr == b"banger: the session one does not read its input\n"


def test_what_a_program_leaves_behind_is_not_waited_for(guest):
    ways = {"pipe": ("", 3, b"\n"), "tty": ('trap "" HUP; ', 4, b"\r\n")}
    for kind, (first, status, end) in ways.items():
        guest.ok(f"start {kind} {kind} sh -c '{first}sleep 600 & echo left $!; exit {status}'")
        said = guest.popen(f"follow {kind} 99").communicate(timeout=60)[0]
        left = re.fullmatch(b"left (\\d+)" + re.escape(end), said)
        # It is there still
        os.kill(int(left[1]), signal.SIGKILL)
        assert guest.states()[kind] == ("ended", status)


def test_a_program_without_output_goes_on(guest):
    guest.ok("start one pipe sh -c 'exec >&- 2>&-; read x; exit 7'")
    guest.ok("start two tty sh -c 'exec </dev/null >&0 2>&0; sleep 0.5; exit 8'")
    assert guest.states()["one"] == ("running", None)
    guest.ok("send one", b"go\n")
    for name in ("one", "two"):
        guest.popen(f"follow {name} 1").communicate(timeout=60)
    assert guest.states() == {"one": ("ended", 7), "two": ("ended", 8)}


def test_signals_have_their_meaning(guest):
    guest.ok("start one tty sh -c 'grep SigIgn /proc/self/status; umask; exec sleep 99'")
    assert "SigIgn:\t0000000000000000\r\n0022" in guest.log("one", "22\r\n")
    guest.ok("send one", b"\x03")
    guest.popen("follow one 1").communicate(timeout=60)
    assert guest.states() == {"one": ("ended", 130)}


def test_odd_names_of_processes_hide_nobody(guest):
    rename = 'open("/proc/self/comm","w").write("a) S 1\\nb) R 2 3")'
    guest.ok(f"start one pipe {sys.executable} -c '{rename}; import time; print(1,flush=1);"
             " time.sleep(99)'")  # fmt: skip
    guest.log("one", "1\n")
    assert guest.ok("stop one 20") == "stopped 143\n"


def test_a_session_whose_keeper_was_killed_has_ended(guest):
    guest.ok("start one tty sleep 99")
    follower = guest.popen("follow one 1")
    os.kill(int((guest.runs / "one" / "keeper").read_text()), 9)
    follower.communicate(timeout=60)
    assert guest.states() == {"one": ("ended", None)}
    guest.ok("remove one")


def test_of_several_starters_one_wins(guest):
    starters = [guest.popen("start one pipe sleep 99") for _ in range(6)]
    assert sorted(each.wait(timeout=60) for each in starters) == [0, 2, 2, 2, 2, 2]
    for each in starters:
        each.communicate()


def test_people_at_terminals_come_and_go(guest):
    guest.ok("start shell tty sh -c 'while read x; do stty size; eval \"$x\"; done'")
    one, two = Person(guest.argv("attach shell"), 30), Person(guest.argv("attach shell"), 40)
    for person in (one, two):
        person.type(b"echo up\n")
        person.see(b"90\r\nup\r\n")
    one.resize(33)
    seen = b""
    while b"33 90" not in seen:
        one.type(b"echo a$((1+1))\n")
        seen = one.see(b"a2")
    two.see(b"a2")
    one.type(b"\x1c")
    one.see(b"[detached]")
    assert one.end() == 0
    two.type(b"echo b$((1+1))\n")
    two.see(b"b2")
    assert two.hang_up() != 0
    three = Person(guest.argv("attach shell"), 20)
    assert b"a2" in three.see(b"b2")
    three.type(b"trap : INT; sh -c 'echo c$((1+1)); exec sleep 99'\n")
    assert b"20 90" in three.see(b"c2")
    three.type(b"\x03")
    three.type(b"exit 5\n")
    three.see(b"[shell has ended, status 5]")
    assert three.end() == 5


def test_what_is_no_program_leaves_nothing(guest):
    done = guest("start none pipe nowhere")
    assert done.returncode == 127
    assert b"nowhere" in done.stderr
    assert guest.states() == {}


@pytest.mark.parametrize(
    "request_",
    ["start ../x pipe true", "start A pipe true", "start - pipe true", "start a odd true",
     f"start {'a' * 64} pipe true", "stop a", "logs ../.. 5", "fly a", "logs nobody 5",
     "start a pipe "],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused(tmp_path, request_):
    guest = Guest(tmp_path, "sh")
    assert guest(request_).returncode == 2
    assert list(guest.runs.iterdir()) == []


def test_a_follower_whose_reader_left_leaves(tmp_path):
    Guest(tmp_path, "sh")
    (tmp_path / "log").write_bytes(struct.pack("q", 6) + b"begun\n")
    reader, writer = os.pipe()
    with (tmp_path / "log").open("rb") as log, (tmp_path / "log").open("rb") as keeper:
        fcntl.flock(keeper, fcntl.LOCK_EX)
        argv = [tmp_path / "show", "99", "/proc/self/fd/0"]
        process = subprocess.Popen(argv, stdin=log, stdout=writer)
        os.close(writer)
        assert os.read(reader, 99) == b"begun\n"
        os.close(reader)
        assert process.wait(timeout=60) == 1
