"""Which driver runs the machines of the system tests."""

from __future__ import annotations

import os

DEFAULT = "qemu"

CONFIG = "[vm]\nstop_grace = 60\nwarm_start = false\n"
"""However busy this host is, a guest that shuts down is not forced. Machines that are saved in the
background would look like what a test leaves behind.
"""

HOST_NOT_READY = 4

DRIVER = "BANGER_TEST_DRIVER"
"""Set it to run all machines with another driver, as ``firecracker`` where KVM works."""


def drivers() -> list[str]:
    """The drivers whose machines are tried: the one that is set, else all that banger brings."""
    chosen = os.environ.get(DRIVER)
    return [chosen] if chosen else [DEFAULT, "firecracker"]


def limit(banger, driver: str) -> str:
    """Why ``driver`` runs no Linux on this host, found out by trying; empty when it does."""
    if driver == DEFAULT:
        return ""
    done = banger.run("vm", "run", "--driver", driver, "--rm", "--", "true")
    said = done.stderr.decode()
    if done.returncode == 0:
        return ""
    refused = "hardware virtualisation (KVM) does not work here"
    assert done.returncode == HOST_NOT_READY, said
    assert refused in said
    return refused


def configuration(driver: str) -> str:
    """The configuration of a test's banger, whose machines ``driver`` runs (empty: the default)."""
    if not driver:
        return CONFIG
    text = f'{CONFIG}driver = "{driver}"\n'
    if driver == "firecracker":
        from firecracker_parts import firecracker_binary

        text += f'[plugins.firecracker]\nfirecracker_bin = "{firecracker_binary()}"\n'
        text += "allow_unsafe_version = true\n"
    return text
