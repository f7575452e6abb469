"""The doctor's check of the network ``bridge``."""

from __future__ import annotations

import socket

from banger_bridge.access import ask
from banger_bridge.addresses import gateways, is_tap
from banger_bridge.helper.rules import REASONS
from banger_bridge.network import BridgeNetwork
from banger_core.api import BangerError, Context, Finding, VmRequest

_SUBJECT = "bridge"
_WHY = "VMs on the network bridge need it; those on the network user do not"


class BridgeCheck:
    """Implements ``contracts.DoctorCheck``."""

    async def check(self, cx: Context) -> list[Finding]:
        """See whether VMs could be connected, what may stand in the way, and what was dropped."""
        request = VmRequest(nat=cx.settings["nat"])
        try:
            await BridgeNetwork().check(request, cx)
        except BangerError as problem:
            return [
                Finding(
                    level="warn",
                    subject=_SUBJECT,
                    message=problem.summary,
                    why=f"{_WHY}: {problem.cause}" if problem.cause else _WHY,
                    fix=problem.hints[0] if problem.hints else "",
                )
            ]
        facts = _facts(cx)
        found = [
            Finding(level="warn", subject=_SUBJECT, **remark)
            for remark in (await ask("check", cx, **facts))["remarks"]
        ]
        found.append(
            Finding(level="pass", subject=_SUBJECT, message=f"{cx.settings['bridge']} can be made")
        )
        return found + await _drops(cx, facts)

    async def fix(self, cx: Context) -> list[Finding]:
        """Nothing here is safe to mend without asking."""
        del cx
        return []


async def _drops(cx: Context, facts: dict[str, str]) -> list[Finding]:
    """What the walls have kept back, for each VM that tried."""
    if not any(is_tap(name) for _, name in socket.if_nameindex()):
        return []
    counted = (await ask("counters", cx, **facts))["counters"]
    found = []
    for name, count in sorted(counted.items()):
        tap, _, why = name.partition("-")
        if why in REASONS and count["packets"]:
            vm = tap.removeprefix("bgr")
            message = f"VM {vm}: {count['packets']} packets dropped, {REASONS[why]}"
            found.append(Finding(level="pass", subject=_SUBJECT, message=message))
    return found


def _facts(cx: Context) -> dict[str, str]:
    gateway, gateway6 = gateways(cx.settings)
    return {"bridge": cx.settings["bridge"], "gateway": gateway, "gateway6": gateway6}
