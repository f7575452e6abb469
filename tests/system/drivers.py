"""Which driver runs the machines of the system tests."""

from __future__ import annotations

CONFIG = "[vm]\nstop_grace = 60\nwarm_start = false\n"
"""However busy this host is, a guest that shuts down is not forced. Machines that are saved in the
background would look like what a test leaves behind.
"""

DRIVER = "BANGER_TEST_DRIVER"
"""Set it to run all machines with another driver, as ``firecracker`` where KVM works."""


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
