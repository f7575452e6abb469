"""The resolvers that this host may have: how each is recognised, and what makes it ask us.

``find`` looks at files and processes alone and changes nothing. A resolver that cannot be wired
says so by ``obstacle``, and ``lines`` are what a person would add where.
"""

from __future__ import annotations

import ipaddress
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

DROP_IN = "banger-dns"
RESOLV_CONF = Path("/etc/resolv.conf")
MOST_SERVERS = 3
"""How many name servers the C library looks at (resolv.conf(5), MAXNS)."""

DELEGATES = 258
"""The first systemd that has dns-delegate files, which leave all other names alone."""

PORTS = 246
"""The first systemd whose resolver asks servers on ports of their own."""

AT_PORT_53 = (
    "set port = 53 in [plugins.dns], then banger daemon stop: the lines are of no use before"
)
"""What to do about a resolver that asks no other port."""

HEAD = "# Names of banger's machines. `banger dns unwire` removes this.\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """Our responder, and the zones it has."""

    address: str
    port: int
    zones: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.address} port {self.port}"

    def joined(self, mark: str) -> str:
        """Address and port with ``mark`` between them, brackets where they are needed."""
        if mark == ":" and ipaddress.ip_address(self.address).version == 6:
            return f"[{self.address}]:{self.port}"
        return f"{self.address}{mark}{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolver:
    """What was found. ``path`` becomes ``text`` and ``reload`` makes it known, unless there is an
    ``obstacle``; ``way_out`` is what to do about that. ``lines`` of ``text`` are those that matter.
    """

    name: str
    path: Path
    text: str
    lines: tuple[str, ...] = field(default=())
    reload: tuple[str, ...] = ()
    obstacle: str = ""
    way_out: str = ""


def find(server: Server) -> list[Resolver]:
    """Return the resolvers that this host uses, the one that answers its programs first."""
    found: list[Resolver] = []
    for look in (_resolved, _network_manager, _dnsmasq, _resolv_conf):
        found += look(server)
    return found


# --- systemd-resolved ------------------------------------------------------------------------


def _resolved(server: Server) -> Iterator[Resolver]:
    if not Path("/run/systemd/resolve/resolv.conf").exists():
        return
    version = _systemd_version()
    lines: tuple[str, ...]
    domains = " ".join(f"~{zone}" for zone in server.zones)
    dns = server.address if server.port == 53 else server.joined(":")
    if version >= DELEGATES:
        path = Path(f"/etc/systemd/dns-delegate.d/{DROP_IN}.dns-delegate")
        lines = ("[Delegate]", f"DNS={dns}", f"Domains={domains}", "DefaultRoute=no")
    else:
        path = Path(f"/etc/systemd/resolved.conf.d/{DROP_IN}.conf")
        lines = ("[Resolve]", f"DNS={dns}", f"Domains={domains}")
    old = server.port != 53 and version < PORTS
    yield Resolver(
        name="systemd-resolved",
        path=path,
        text=_drop_in(lines),
        lines=lines,
        reload=("systemctl", "restart", "systemd-resolved"),
        obstacle=f"systemd {version} asks port 53 only, and names are served on {server.port}"
        if old
        else "",
        way_out=AT_PORT_53 if old else "",
    )


def _systemd_version() -> int:
    program = shutil.which("resolvectl") or shutil.which("systemctl")
    if program is None:
        return 0
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"\d+", done.stdout)
    return int(found[0]) if found else 0


# --- dnsmasq, by itself and under NetworkManager ---------------------------------------------


def _dnsmasq_lines(server: Server) -> tuple[str, ...]:
    at = server.joined("#")
    servers = tuple(f"server=/{zone}/{at}" for zone in server.zones)
    # Loopback addresses from upstream are taken for an attack when stop-dns-rebind is set
    return (*servers, f"rebind-domain-ok=/{server.zones[0]}/")


def _network_manager(server: Server) -> Iterator[Resolver]:
    if not Path("/run/NetworkManager").is_dir() or _manager_dns() != "dnsmasq":
        return
    lines = _dnsmasq_lines(server)
    yield Resolver(
        name="NetworkManager",
        path=Path(f"/etc/NetworkManager/dnsmasq.d/{DROP_IN}.conf"),
        text=_drop_in(lines),
        lines=lines,
        reload=("nmcli", "general", "reload", "dns-full"),
    )


def _manager_dns() -> str:
    """What NetworkManager.conf(5) calls ``dns`` in ``[main]``; the last file that says it wins."""
    etc, lib = Path("/etc/NetworkManager"), Path("/usr/lib/NetworkManager")
    files = [
        *sorted((lib / "conf.d").glob("*.conf")),
        etc / "NetworkManager.conf",
        *sorted((etc / "conf.d").glob("*.conf")),
    ]
    value = ""
    for file in files:
        section = ""
        for line in _lines(file):
            if line.startswith("["):
                section = line
            elif section == "[main]" and (said := re.fullmatch(r"dns\s*=\s*(\S+)", line)):
                value = said[1]
    return value


def _dnsmasq(server: Server) -> Iterator[Resolver]:
    running = [argv for argv in _commands("dnsmasq") if not _is_private(argv)]
    if not running:
        return
    lines = _dnsmasq_lines(server)
    directory = _conf_dir(running[0])
    yield Resolver(
        name="dnsmasq",
        path=(directory or Path("/etc/dnsmasq.d")) / f"{DROP_IN}.conf",
        text=_drop_in(lines),
        lines=lines,
        reload=("systemctl", "restart", "dnsmasq"),
        obstacle="" if directory else "its configuration names no directory for more files",
    )


def _is_private(argv: Sequence[str]) -> bool:
    """Whether it serves a network of libvirt, LXC or NetworkManager, and not this host."""
    marks = ("libvirt", "lxc", "NetworkManager", "--conf-file=/dev/null", "podman")
    return any(mark in word for word in argv for mark in marks)


def _conf_dir(argv: Sequence[str]) -> Path | None:
    """The directory for more files: what was said on the command line and in its file."""
    words = list(argv[1:])
    file = Path("/etc/dnsmasq.conf")
    said = ""
    for place, word in enumerate(words):
        following = words[place + 1] if place + 1 < len(words) else ""
        for short, option in (("-7", "conf-dir"), ("-C", "conf-file")):
            value = ""
            if word in (short, f"--{option}"):
                value = following
            elif word.startswith(f"--{option}="):
                value = word.partition("=")[2]
            elif word.startswith(short) and len(word) > len(short):
                value = word[len(short) :]
            if value and option == "conf-dir":
                said = value
            elif value:
                file = Path(value)
    for line in _lines(file):
        if match := re.fullmatch(r"conf-dir\s*=\s*(\S+)", line):
            said = said or match[1]
    directory, *filters = said.split(",")
    wanted = [each for each in filters if each.startswith("*")]
    fits = not wanted or any(f"{DROP_IN}.conf".endswith(each[1:]) for each in wanted)
    return Path(directory) if directory and fits and ".conf" not in filters else None


def _commands(program: str) -> Iterator[list[str]]:
    """The command lines of the processes of that name."""
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        try:
            if (process / "comm").read_text().strip() != program or not _same_network(process):
                continue
            words = (process / "cmdline").read_bytes().split(b"\0")[:-1]
        except OSError:
            continue
        if words:
            yield [os.fsdecode(word) for word in words]


def _same_network(process: Path) -> bool:
    """Whether it is in our network namespace; where that cannot be seen, it may be."""
    try:
        return (process / "ns/net").readlink() == Path("/proc/self/ns/net").readlink()
    except OSError:
        return True


# --- resolv.conf -----------------------------------------------------------------------------


def _resolv_conf(server: Server) -> Iterator[Resolver]:
    """The C library asks these servers one after the other: ours first, which refuses all other
    names, so that the next is asked.
    """
    text = _text(RESOLV_CONF)
    line = f"nameserver {server.address}"
    lines = text.splitlines(keepends=True)
    place = next((n for n, each in enumerate(lines) if each.startswith("nameserver")), len(lines))
    if lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    changed = "".join([*lines[:place], f"{line}\n", *lines[place:]])
    yield Resolver(
        name="resolv.conf",
        path=RESOLV_CONF,
        text=changed,
        lines=(line,),
        obstacle=_resolv_obstacle(server, lines),
        way_out=AT_PORT_53 if server.port != 53 else "",
    )


def _resolv_obstacle(server: Server, lines: Sequence[str]) -> str:
    if server.port != 53:
        return f"the C library asks port 53 only, and names are served on {server.port}"
    if RESOLV_CONF.is_symlink():
        return f"{RESOLV_CONF} is a link to {RESOLV_CONF.readlink()}, which another program writes"
    servers = [line for line in lines if line.startswith("nameserver")]
    if len(servers) >= MOST_SERVERS:
        return f"{RESOLV_CONF} has {len(servers)} servers, and no more than 3 are asked"
    return ""


def _drop_in(lines: Sequence[str]) -> str:
    return HEAD + "".join(f"{line}\n" for line in lines)


def _lines(file: Path) -> list[str]:
    return [line.strip() for line in _text(file).splitlines()]


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8", "surrogateescape")
    except OSError:
        return ""
