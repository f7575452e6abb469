"""Scenes with the real services of a desktop or server: systemd-resolved and NetworkManager, out
of this system's archive. Only what starts them is played: there is no systemd.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from dns_stage import ETC, PATIENCE, Stage, eventually, look_up, options, wire_and_unwire

from banger_dns.wiring import wire as wiring

UPSTREAM = "192.0.2.2"
OURS = "192.0.2.77/24"

SYSTEMCTL = """\
#!{python}
import os, select, shutil, signal, socket, subprocess, sys
if sys.argv[1:] != ["restart", "systemd-resolved"]:
    sys.exit("systemctl " + " ".join(sys.argv[1:]) + ": is not played here")
os.makedirs("/run/systemd/resolve", exist_ok=True)
shutil.chown("/run/systemd/resolve", "systemd-resolve", "systemd-resolve")
if os.path.exists("/run/resolved.pid"):
    with open("/run/resolved.pid") as file:
        handle = os.pidfd_open(int(file.read()))
    signal.pidfd_send_signal(handle, signal.SIGTERM)
    select.select([handle], [], [])
    os.unlink("/run/systemd/notify")
ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
ready.bind("/run/systemd/notify")
os.chmod("/run/systemd/notify", 0o777)
with open("/run/resolved.log", "ab") as log:
    child = subprocess.Popen(
        ["/usr/lib/systemd/systemd-resolved"],
        env={{**os.environ, "NOTIFY_SOCKET": "/run/systemd/notify"}},
        stdin=subprocess.DEVNULL, stdout=log, stderr=log,
    )
with open("/run/resolved.pid", "w") as file:
    file.write(str(child.pid))
ready.settimeout({patience})
while b"READY=1" not in ready.recv(4096):
    pass
"""
"""Does what systemd does for its unit, which says ``Type=notify`` and ``RuntimeDirectory=``."""

MANAGER = """\
[main]
plugins=keyfile
dns=dnsmasq
rc-manager=file
"""
CONNECTION = f"""\
[connection]
id=card
uuid=5e1f2f5e-31d7-4a0e-9d4e-6d1b1f3c2a11
type=ethernet
interface-name=card
[ipv4]
method=manual
address1={OURS}
dns={UPSTREAM};
[ipv6]
method=disabled
"""


def resolved(stage: Stage) -> None:
    """A real systemd-resolved takes the file that is written for it when it is restarted."""
    wiring.SETTLE = PATIENCE
    stage.serve()
    user("systemd-resolve")
    (ETC / "systemd/resolved.conf").write_text("[Resolve]\nDNS=127.0.0.1\nDNSSEC=no\n")
    (ETC / "resolv.conf").unlink(missing_ok=True)
    (ETC / "resolv.conf").symlink_to("/run/systemd/resolve/stub-resolv.conf")
    programs = stage.place / "bin"
    programs.mkdir()
    script = SYSTEMCTL.format(python=sys.executable, patience=PATIENCE)
    (programs / "systemctl").write_text(script)
    (programs / "systemctl").chmod(0o755)
    os.environ["PATH"] = f"{programs}:{os.environ['PATH']}"
    # As sd_booted(3) finds out
    Path("/run/systemd/system").mkdir(parents=True)
    with stage.dnsmasq("--conf-file=/dev/null", *options()), card():
        # It asks nobody while it takes the host for offline
        subprocess.run(["ip", "address", "add", OURS, "dev", "card"], check=True)
        subprocess.run(["systemctl", "restart", "systemd-resolved"], check=True)
        eventually(lambda: look_up("known.test") == "192.0.2.1")
        # It says so of every loopback address by itself
        wire_and_unwire(stage, None, "systemd-resolved", back="localhost")


def network_manager_itself(stage: Stage) -> None:
    """A real NetworkManager with the dnsmasq that it runs, told by nmcli over D-Bus."""
    wiring.SETTLE = PATIENCE
    stage.serve()
    subprocess.run(["mount", "-t", "tmpfs", "none", "/var/lib"], check=True)
    # So it knows that there is no udev to wait for
    subprocess.run(["mount", "-t", "sysfs", "-o", "ro", "none", "/sys"], check=True)
    for each in ("/run/dbus", "/var/lib/NetworkManager"):
        Path(each).mkdir()
    (ETC / "resolv.conf").unlink(missing_ok=True)
    own = ETC / "NetworkManager"
    (own / "system-connections").mkdir(parents=True, exist_ok=True)
    (own / "NetworkManager.conf").write_text(MANAGER)
    connection = own / "system-connections/card.nmconnection"
    connection.write_text(CONNECTION)
    connection.chmod(0o600)
    user("messagebus")
    bus = ["dbus-daemon", "--system", "--fork", "--nopidfile"]
    subprocess.run(bus, check=True)
    with (
        card() as beyond,
        running([*beyond, "dnsmasq", "--keep-in-foreground", *upstream()]),
        running(["NetworkManager", "--no-daemon"]),
    ):
        eventually(lambda: look_up("known.test") == "192.0.2.1")
        wire_and_unwire(stage, None, "NetworkManager")


def user(name: str) -> None:
    """See that there is one, as the scripts of packages do."""
    for file, rest in (("passwd", ":x:991:991::/:/usr/sbin/nologin"), ("group", ":x:991:")):
        lines = (ETC / file).read_text()
        if not any(line.startswith(f"{name}:") for line in lines.splitlines()):
            (ETC / file).write_text(f"{lines}{name}{rest}\n")


def upstream() -> list[str]:
    """What makes a dnsmasq the server that a connection names."""
    own = [f"--listen-address={UPSTREAM}" if "listen" in each else each for each in options()]
    return ["--conf-file=/dev/null", "--user=root", "--pid-file=", *own]


@contextmanager
def card() -> Iterator[list[str]]:
    """A network card named ``card``, with a cable to another host at ``UPSTREAM``; give what runs
    a program over there.
    """
    there = ["unshare", "--net", "sh", "-c", "echo made; exec cat"]
    with subprocess.Popen(there, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"made\n"
        inside = ["nsenter", "--net", "--target", str(holder.pid)]
        ip("link", "add", "card", "type", "veth", "peer", "name", "far")
        ip("link", "set", "far", "netns", str(holder.pid))
        for words in (
            "link set lo up",
            "link set far up",
            f"address add {UPSTREAM}/24 dev far",
        ):
            subprocess.run([*inside, "ip", *words.split()], check=True)
        ip("link", "set", "card", "up")
        try:
            yield inside
        finally:
            holder.stdin and holder.stdin.close()


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def running(argv: Sequence[str]) -> Iterator[None]:
    """A program that runs meanwhile."""
    with subprocess.Popen(argv) as child:
        try:
            yield
        finally:
            child.terminate()
