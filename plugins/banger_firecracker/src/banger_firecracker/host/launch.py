"""Becomes Firecracker: OPTIONS PROGRAM [ARGUMENT…].

First it makes what must be there before and cannot be made from outside: pipes for the console,
the VM's network namespace, and the relay, a child that stays as long as Firecracker does. So the
process that was started is Firecracker's own, and its end is the end of everything.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from banger_firecracker.host import kernel, relay
from banger_firecracker.host.options import (
    BRIDGE,
    CONSOLE,
    CONTROL,
    LOG_FIFO,
    METRICS_FIFO,
    TAP,
    UPLINK,
    Options,
)

MARK = "banger-host: "
"""What the program's own last words begin with, in the log of the process."""

FAILED = 125


class HostProblem(Exception):
    """What could not be done, for people."""


def main(argv: list[str]) -> None:
    """Never returns: becomes the program, or ends with ``MARK`` and a reason on stderr."""
    options, command = Options.from_text(argv[0]), argv[1:]
    os.umask(0o077)
    try:
        _launch(options, command)
    except HostProblem as problem:
        print(f"{MARK}{problem}", file=sys.stderr, flush=True)  # noqa: T201 - a program's own words
    os._exit(FAILED)


def _launch(options: Options, command: list[str]) -> None:
    for name in (LOG_FIFO, METRICS_FIFO):
        _make_fifo(options.fifo(name), options.owner)
    console = _listen(options.place(CONSOLE), socket.SOCK_STREAM)
    control = _listen(options.place(CONTROL), socket.SOCK_SEQPACKET)
    keyboard, typing = os.pipe()
    printing, screen = os.pipe()
    ours, theirs = socket.socketpair()
    vmm = os.getpid()
    if os.fork() == 0:
        for handle in (keyboard, screen):
            os.close(handle)
        ours.close()
        os._exit(relay.main(options, vmm, theirs, (console, control), (printing, typing)))
    theirs.close()
    if options.network is not None:
        _make_network(options)
    if options.tap:
        _give_tap(options)
    ours.sendall(b"network")
    if answer := ours.recv(4096).decode():
        if answer != relay.READY:
            raise HostProblem(answer)
    else:
        raise HostProblem("the relay ended at once")
    if not options.jailed:
        kernel.renounce()
    # Where Firecracker finds what has a name of no VM's own; a jailer goes elsewhere
    os.chdir(options.directory)
    os.dup2(keyboard, 0)
    os.dup2(screen, 1)
    try:
        os.execv(command[0], command)  # noqa: S606 - what this program is for
    except OSError as problem:
        raise HostProblem(f"cannot run {command[0]}: {problem.strerror}") from problem


def _make_network(options: Options) -> None:
    network = options.network
    assert network is not None
    kind = "network namespace" if options.jailed else "user and network namespace"
    try:
        kernel.enter_new_network(user=not options.jailed)
    except OSError as problem:
        raise HostProblem(f"cannot make a {kind}: {problem.strerror}") from problem
    members = (TAP, UPLINK) if network.slirp else (TAP,)
    try:
        for member in members:
            kernel.make_tap(member, options.owner)
    except OSError as problem:
        raise HostProblem(f"cannot use /dev/net/tun: {problem.strerror}") from problem
    try:
        kernel.make_bridge(BRIDGE, network.address, network.netmask, members)
        for member in members:
            if member != TAP or not network.held:
                kernel.bring_up(member)
    except OSError as problem:
        raise HostProblem(f"cannot make a network bridge: {problem.strerror}") from problem


def _give_tap(options: Options) -> None:
    try:
        # It is there, and whoever made it removes it: none is to be made here
        socket.if_nametoindex(options.tap)
        kernel.make_tap(options.tap, options.owner)
    except OSError as problem:
        raise HostProblem(f"cannot give {options.tap} away: {problem.strerror}") from problem


def _make_fifo(path: Path, owner: int) -> None:
    try:
        path.unlink(missing_ok=True)
        os.mkfifo(path, 0o600)
        if owner != os.geteuid():
            os.chown(path, owner, -1)
    except OSError as problem:
        raise HostProblem(f"cannot make {path}: {problem.strerror}") from problem


def _listen(path: Path, kind: socket.SocketKind) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, kind)
    try:
        path.unlink(missing_ok=True)
        server.bind(str(path))
    except OSError as problem:
        raise HostProblem(f"cannot make {path}: {problem.strerror}") from problem
    return server


if __name__ == "__main__":
    main(sys.argv[1:])
