"""The guest's side of sessions, run by this host's shells, with the image's place taken by one."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import time
from importlib.resources import files

import pytest

from banger_core.client.guest_sessions import parse_sessions
from banger_core.guest.elf import NAMES
from banger_core.guest.programs import small_program

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
        machine = {name: number for number, name in NAMES.items()}[platform.machine()]
        for name in ("pty", "follow"):
            (place / name).write_bytes(small_program(name, machine))
            (place / name).chmod(0o755)
        for name in ("login", "session", "keep"):
            text = (files("banger_core.guest") / "files" / name).read_text()
            text = re.sub(r"(?m)^until \[ -s /run/up.*", "", text)
            text = re.sub(r'inside=".*"', f'inside="{shell} {place}/enter"', text)
            text = text.replace("/run/sessions", str(self.runs))
            text = re.sub(r"/banger/(session|keep|pty|follow)\b", rf"{place}/\1", text)
            (place / name).write_text(text)

    def __call__(self, request, data=b""):
        return subprocess.run(
            [*self._login, "-c", f"banger-session {request}"],
            input=data, capture_output=True, timeout=60, check=False,
        )  # fmt: skip

    def popen(self, request):
        pipe = subprocess.PIPE
        argv = [*self._login, "-c", f"banger-session {request}"]
        return subprocess.Popen(argv, stdin=pipe, stdout=pipe)

    def ok(self, request, data=b""):
        done = self(request, data)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout.decode()

    def states(self):
        return {
            each.name: (each.state, each.status) for each in parse_sessions(self.ok("list"), "web")
        }

    def log(self, name, wanted):
        deadline = time.monotonic() + 30
        while wanted not in (log := self.ok(f"logs {name} 9999")):
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
    assert follower.communicate(timeout=30)[0] == b"bye\n"
    assert guest.states() == {"one": ("ended", 5)}
    assert guest("send one", b"more").returncode == 2
    guest.ok("remove one")
    assert guest.states() == {}
    assert list(guest.runs.iterdir()) == []


def test_a_terminal_is_one(guest):
    guest.ok("start t tty sh -c 'tty; stty size; cat; exit 4'")
    guest.ok("send t", b"hey\n")
    assert re.match(r"/dev/pts/\d+\r\n24 80\r\n", guest.log("t", "hey\r\nhey\r\n"))
    attached = guest.popen("attach t")
    attached.stdin.write(b"more\n\x04")
    attached.stdin.flush()
    assert attached.wait(timeout=30) == 4
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


def test_a_log_has_two_parts_and_no_more(guest):
    guest.ok("start long pipe sh -c 'seq 200000; echo the end'")
    followed = guest.popen("follow long 99").communicate(timeout=60)[0].splitlines()
    assert followed[-2:] == [b"200000", b"the end"]
    kept = guest.ok("logs long 1048576").splitlines()
    assert kept[1:-1] == [str(number) for number in range(int(kept[1]), 200001)]
    sizes = [path.stat().st_size for path in (guest.runs / "long").glob("log*")]
    assert 1 << 18 < sum(sizes) <= 1 << 20


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
        guest.popen(f"follow {name} 1").communicate(timeout=30)
    assert set(guest.states()) == {"stays", "b"}
    guest.ok("start more pipe sleep 99")
    assert set(guest.states()) == {"stays", "more"}
    done = guest("start c pipe true")
    assert done.stderr == b"banger: 2 sessions run already\n"


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
    (tmp_path / "log").write_bytes(b"begun\n")
    reader, writer = os.pipe()
    with (tmp_path / "log").open("rb") as log:
        process = subprocess.Popen(
            [tmp_path / "follow", "/proc/self/fd/0"], stdin=log, stdout=writer
        )
    os.close(writer)
    assert os.read(reader, 99) == b"begun\n"
    os.close(reader)
    assert process.wait(timeout=30) == 1
