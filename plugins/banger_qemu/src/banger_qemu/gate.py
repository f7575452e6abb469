"""Puts the fence between a running QEMU's network card and its user network."""

from __future__ import annotations

import re
from contextlib import suppress

from banger_core.api import Fence, GuestFailed, fence_filter, open_fenced_pair
from banger_qemu.qmp import Qmp

CARD_HUB, NETWORK_HUB = 0, 1
"""The card is alone on one hub of QEMU's, the user network on the other, until the gate opens."""

CARD, NETWORK = "card", "net"
"""What the network device of QEMU's is called that the card is plugged into, behind the gate and
where there is none.
"""

_ENDS = (("outside", CARD_HUB), ("inside", NETWORK_HUB))

# "  UDP[HOST_FORWARD]  12   127.85.12.9  5353    10.0.2.15    53     0     0"
_UDP_FORWARD = re.compile(r"^\s*UDP\[HOST_FORWARD\]\s+\d+\s+\S+\s+\d+\s+\S+\s+(\d+)", re.MULTILINE)


async def open_gate(fence: Fence, qmp: Qmp) -> None:
    """Connect the card to the user network through a pair of sockets that ``fence`` filters.

    Done again, it takes the host's addresses and the published ports as they are now; what is on
    its way at that moment is lost, as on any network. Raises GuestFailed when QEMU refuses, and
    OSError when the kernel does: then the card stays unconnected.
    """
    forwards = await qmp.execute("human-monitor-command", **{"command-line": "info usernet"})
    udp_ports = [int(port) for port in _UDP_FORWARD.findall(str(forwards))]
    steps = fence_filter(fence, udp_ports)
    await _close_gate(qmp)
    with_guest, with_host = open_fenced_pair(steps)
    with with_guest, with_host:
        for (name, hub), end in zip(_ENDS, (with_guest, with_host), strict=True):
            await qmp.give(name, end)
            await qmp.execute("netdev_add", type="socket", id=name, fd=name)
            await qmp.execute(
                "netdev_add", type="hubport", id=f"{name}-hub", hubid=hub, netdev=name
            )


async def _close_gate(qmp: Qmp) -> None:
    for name, _ in _ENDS:
        for part in (f"{name}-hub", name):
            with suppress(GuestFailed):
                await qmp.execute("netdev_del", id=part)
