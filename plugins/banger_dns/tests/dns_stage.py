"""The stage of the scenes, in namespaces of its own: a private copy of /etc, an empty /run, a
loopback interface that nobody else has; and what every kind of wiring has to hold.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from dns_house import House, name

from banger_core.testing.context import FakeContext
from banger_dns.wiring import wire as wiring
from banger_dns.wiring.hands import Hands
from banger_dns.wiring.journal import JOURNAL
from banger_dns.wiring.wire import Wirer

ETC = Path("/etc")
PATIENCE = 60.0
"""Seconds after which something will not happen any more, on a busy machine as well."""

DNSMASQ = """\
no-resolv
no-hosts
bind-interfaces
listen-address=127.0.0.1
address=/known.test/192.0.2.1
stop-dns-rebind
bogus-priv
"""


class Stage:
    """Everything that a scene is played with."""

    def __init__(self, place: Path) -> None:
        self.place, self.said = place, list[str]()
        self.cx = FakeContext(place / "plugin")
        self.house = House(self.cx)

    def serve(self, port: int = 10053, address: str = "127.0.0.1") -> None:
        """Run the responder, with a VM in it."""
        self.cx._settings.update(port=port, address=address)
        self.house.tend()
        self.house.enter(name("web", "127.64.1.2"))

    def wirer(self, hands: Hands | None = None) -> Wirer:
        return Wirer(self.house.ask("status"), self.said.append, hands)

    @property
    def journal(self) -> Path:
        return self.cx.state_dir / JOURNAL

    @contextlib.contextmanager
    def dnsmasq(self, *options: str) -> Iterator[tuple[str, ...]]:
        """A real dnsmasq; gives the command that restarts it, as an init script would."""
        pid = self.place / "dnsmasq.pid"
        start = ["dnsmasq", f"--pid-file={pid}", "--user=root", *options]
        script = self.place / "restart"
        script.write_text(
            f"#!/bin/sh\nset -e\npid=$(cat {pid})\nkill $pid\n"
            "while kill -0 $pid 2>/dev/null; do sleep 0.05; done\n"
            f"exec {shlex.join(start)}\n"
        )
        script.chmod(0o755)
        subprocess.run(start, check=True)
        try:
            yield (str(script),)
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.kill(int(pid.read_text()), 15)


def snapshot() -> dict[str, Any]:
    """All of /etc: what each file is, its mode and its owner."""
    found = {}
    for path in sorted(ETC.rglob("*")):
        facts = path.lstat()
        what = path.read_bytes() if stat.S_ISREG(facts.st_mode) else b""
        found[str(path)] = (stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid, what)
    return found


def look_up(question: str) -> str:
    """What a program of this host finds."""
    code = "import socket, sys; print(socket.gethostbyname(sys.argv[1]))"
    argv = [sys.executable, "-I", "-S", "-c", code, question]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def reverse(address: str) -> str:
    code = "import socket, sys; print(socket.gethostbyaddr(sys.argv[1])[0])"
    argv = [sys.executable, "-I", "-S", "-c", code, address]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout.strip()


def resolv_conf(text: str = "# mine\nnameserver 127.0.0.1\noptions timeout:1\n") -> None:
    path = ETC / "resolv.conf"
    path.unlink(missing_ok=True)
    path.write_text(text)
    path.chmod(0o640)
    os.chown(path, 0, 7)


def options() -> list[str]:
    return [f"--{line}" for line in DNSMASQ.splitlines()]


def use_dnsmasq(stage: Stage, directory: str = "/etc/dnsmasq.d/,*.conf") -> None:
    """The usual configuration of dnsmasq as this host's resolver."""
    resolv_conf()
    conf_dir = f"conf-dir={directory}\n" if directory else ""
    (ETC / "dnsmasq.conf").write_text(DNSMASQ + conf_dir)
    if directory:
        Path(directory.partition(",")[0]).mkdir(exist_ok=True)


def eventually(holds: Callable[[], bool]) -> None:
    """Wait until it does. Raises AssertionError."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def wire_and_unwire(
    stage: Stage, reload: tuple[str, ...] | None, resolver: str, *, back: str = "web.vm"
) -> None:
    """What every kind of wiring has to hold. ``back`` is the reverse name of the VM."""
    before = snapshot()
    assert look_up("known.test") == "192.0.2.1"
    assert look_up("web.vm") == ""
    chosen = stage.wirer().wire("", reload)
    assert chosen is not None
    assert chosen.name == resolver, chosen.name
    assert look_up("web.vm") == "127.64.1.2"
    assert look_up("known.test") == "192.0.2.1"
    assert reverse("127.64.1.2") == back
    assert look_up("gone.vm") == ""
    look = stage.wirer().look()
    assert look.problem == ""
    assert look.wired is not None
    assert look.wired.done
    # Once more changes nothing
    changed = snapshot()
    assert stage.wirer().wire("", reload) is None
    assert snapshot() == changed != before
    undone = stage.wirer().unwire()
    assert undone is not None
    assert (undone.kept, undone.untold) == ((), "")
    # Some come back in their own time
    eventually(lambda: look_up("known.test") == "192.0.2.1")
    assert look_up("web.vm") == ""
    assert snapshot() == before
    assert not stage.journal.exists()
    assert stage.wirer().unwire() is None


def play(scene: Callable[[Stage], None], place: Path, programs: Path | None) -> None:
    """Set the stage, with what is in ``programs``/usr seen in /usr, and play."""
    commands = [
        ["ip", "link", "set", "lo", "up"],
        ["mount", "-t", "tmpfs", "none", "/run"],
        ["cp", "-a", "/etc", str(place / "etc")],
        ["mount", "--bind", str(place / "etc"), "/etc"],
    ]
    if programs is not None:
        layers = f"lowerdir={programs}/usr:/usr"
        commands.append(["mount", "-t", "overlay", "none", "-o", layers, "/usr"])
    for command in commands:
        subprocess.run(command, check=True)
    (ETC / "nsswitch.conf").write_text("hosts: files dns\n")
    stage = Stage(place)
    wiring.SETTLE = PATIENCE
    try:
        scene(stage)
    finally:
        stage.cx.close()
