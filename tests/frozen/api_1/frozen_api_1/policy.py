"""The policy: what every SSH connection to a machine is to be like."""

from __future__ import annotations

from banger_core.api import SshFacts, SshPatch


def policy(facts: SshFacts) -> SshPatch:
    """Return what is to be set, and what of it is locked. Pure: the same facts, the same patch.

    ``banger ssh explain VM`` shows all settings there are, and who decided each.
    """
    wishes = {"agent_forwarding": False}
    if facts.labels.get("trust") == "none":
        wishes["x11_forwarding"] = False
    return SshPatch(set=wishes, lock=frozenset({"agent_forwarding"}))
