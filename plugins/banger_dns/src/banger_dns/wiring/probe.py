"""Whether this host's own programs get answers from our responder."""

from __future__ import annotations

import secrets
import subprocess
import sys
import time

from banger_dns.names import PROBE, ZONE, probe_address

PATIENCE = 10.0
"""Seconds for a single look-up; the C library gives up after as many."""

_LOOK_UP = """
import socket, sys
try:
    for found in socket.getaddrinfo(sys.argv[1], None, socket.AF_INET, socket.SOCK_STREAM):
        print(found[4][0])
except OSError as problem:
    print(problem.strerror, file=sys.stderr)
"""


def ask_host(token: str) -> str:
    """Look a name up that nobody could have remembered, as every program does (getaddrinfo(3)).

    Returns why the answer is not ours; empty when it is.
    """
    nonce = secrets.token_hex(8)
    # A process of its own: the C library reads its configuration once
    argv = [sys.executable, "-I", "-S", "-c", _LOOK_UP, f"{nonce}.{PROBE}.{ZONE}."]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        return "there was no answer"
    found = done.stdout.split()
    if found == [probe_address(token, nonce)]:
        return ""
    return f"another server answered: {found[0]}" if found else done.stderr.strip()


def wait_for_host(token: str, patience: float) -> str:
    """``ask_host`` until it works, for ``patience`` seconds; return why it never did."""
    deadline = time.monotonic() + patience
    while reason := ask_host(token):
        if time.monotonic() > deadline:
            return reason
        time.sleep(0.2)
    return ""
