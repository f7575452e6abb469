"""One SSH policy out of many layers: a pure fold over precedence, locks and ties.

The highest setter of a key wins. A lock freezes its key for everyone below: the locker's own
value stands, or banger's default when it sets none. Layers that disagree at the same precedence
on a locked key are an error that names both; on a free key the later name wins. The order in
which layers were installed or read never matters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import groupby
from typing import Any

from banger_core.contracts import SshPatch
from banger_core.errors import Conflict, UsageProblem
from banger_core.model import SshSetting
from banger_core.plan.ssh_keys import KEYS, SshKey, key_named

CORE = "core"
"""The origin of banger's own defaults."""


class Authority(Enum):
    """Where a layer comes from, and so the lowest and highest precedence that it can have."""

    PLUGIN = (1, 499)
    USER = (500, 500)
    PROJECT = (600, 600)
    ADMIN = (900, 999)


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyLayer:
    """What one author wants. ``precedence`` counts only within what ``authority`` allows.

    A plugin cannot lock. A project's file, which comes with whatever was cloned, can only
    tighten: a value that is not stricter is ignored, and so are its locks (a lock alone would
    bring back the default).
    """

    origin: str
    authority: Authority
    patch: SshPatch
    precedence: int = 0

    @property
    def rank(self) -> int:
        """The precedence that counts."""
        low, high = self.authority.value
        return min(max(self.precedence, low), high)

    @property
    def locks(self) -> frozenset[str]:
        """The locks that count."""
        trusted = self.authority in (Authority.USER, Authority.ADMIN)
        return self.patch.lock if trusted else frozenset()


@dataclass(frozen=True, slots=True)
class _Claim:
    """What one layer says about one key; ``says`` is false for a lock without a value."""

    layer: PolicyLayer
    value: Any
    says: bool
    locks: bool


def fold(layers: Sequence[PolicyLayer]) -> dict[str, SshSetting]:
    """Return every key's effective value, its origin, who locked it and what lost.

    Raises NotFound for an unknown key, UsageProblem for a value that cannot be and Conflict for
    a tie on a locked key; each names the layers concerned.
    """
    claims: dict[str, list[_Claim]] = {name: [] for name in KEYS}
    for layer in sorted(layers, key=lambda layer: (layer.rank, layer.origin)):
        for name, claim in _claims(layer).items():
            claims[name].append(claim)
    return {name: _settle(KEYS[name], claims[name]) for name in KEYS}


def patch_of(table: Mapping[str, Any], origin: str) -> SshPatch:
    """Read a table of settings in which ``lock`` lists the locked keys. Raises UsageProblem."""
    locked = table.get("lock", [])
    if not isinstance(locked, list) or not all(isinstance(name, str) for name in locked):
        raise UsageProblem(
            f"'lock' of {origin} cannot be {locked!r}",
            cause="it is a list of SSH settings",
            hints=['write it as: lock = ["agent_forwarding"]'],
        )
    values = {name: value for name, value in table.items() if name != "lock"}
    return SshPatch(set=values, lock=frozenset(locked))


def _claims(layer: PolicyLayer) -> dict[str, _Claim]:
    claims = {}
    for name in sorted({*layer.patch.set, *layer.patch.lock}):
        key = key_named(name, layer.origin)
        says = name in layer.patch.set
        value = key.accept(layer.patch.set[name], layer.origin) if says else key.default
        if says or name in layer.locks:
            claims[name] = _Claim(layer, value, says, name in layer.locks)
    return claims


def _settle(key: SshKey, claims: list[_Claim]) -> SshSetting:
    """Decide one key; ``claims`` are in order of rank and origin."""
    frozen = max((claim.layer.rank for claim in claims if claim.locks), default=-1)
    value, origin = key.default, CORE
    for rank, group in groupby(claims, key=lambda claim: claim.layer.rank):
        tied = list(group)
        if rank < frozen:
            continue
        if frozen >= 0:
            _agree(key, tied)
        for claim in tied:
            if claim.says and _may(key, claim, value):
                value, origin = claim.value, claim.layer.origin
    lockers = [c.layer.origin for c in claims if c.locks and c.layer.rank == frozen]
    lost = [(c.layer.origin, c.value) for c in claims if c.says and c.value != value]
    return SshSetting(
        value=value, origin=origin, locked_by=", ".join(lockers), ignored=tuple(reversed(lost))
    )


def _may(key: SshKey, claim: _Claim, value: Any) -> bool:
    """Say whether the claim may replace ``value``."""
    return claim.layer.authority is not Authority.PROJECT or key.stricter(value, claim.value)


def _agree(key: SshKey, tied: list[_Claim]) -> None:
    """Raise Conflict when layers of one rank want different things of a locked key."""
    first = tied[0]
    for other in tied[1:]:
        if other.value != first.value:
            raise Conflict(
                f"{first.layer.origin} and {other.layer.origin} disagree on the locked SSH "
                f"setting {key.name}",
                cause=f"both have precedence {first.layer.rank}: "
                f"{first.value!r} against {other.value!r}",
                hints=["give one of them a higher precedence, or make them agree"],
            )
