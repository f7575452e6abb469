"""The suite for SSH policy layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import pytest

from banger_core.contracts import SshFacts, SshPatch
from banger_core.errors import BangerError
from banger_core.testing.contracts.base import Contract


class SshPolicyContract(Contract):
    """Set ``policy = staticmethod(function)``; ``settings`` are those that it needs."""

    contract: ClassVar[str] = "SshPolicyLayer"
    policy: Callable[[SshFacts], SshPatch]
    settings: ClassVar[Mapping[str, Any]] = {}

    @pytest.fixture
    def facts(self) -> SshFacts:
        """A VM, read-only."""
        return SshFacts(
            vm_name="sample",
            vm_id="0123456789ab",
            labels=MappingProxyType({"team": "a"}),
            settings=MappingProxyType(dict(self.settings)),
        )

    def test_policy_gives_a_patch(self, facts: SshFacts) -> None:
        patch = type(self).policy(facts)
        self.asks(isinstance(patch, SshPatch), f"a policy returns an SshPatch, not {patch!r}")
        named = all(str(key) == key != "" for key in (*patch.set, *patch.lock))
        self.asks(named, f"settings are named by text: {patch!r}")
        self.survives_json_values(patch)

    def test_policy_is_pure(self, facts: SshFacts) -> None:
        first, second = (type(self).policy(facts) for _ in range(2))
        self.asks(first == second, "a policy gives the same patch for the same facts")

    def test_what_is_set_can_be_set(self, facts: SshFacts) -> None:
        from banger_core.plan.ssh_keys import key_named

        patch = type(self).policy(facts)
        self.asks(isinstance(patch, SshPatch), f"a policy returns an SshPatch, not {patch!r}")
        for name in sorted({*patch.set, *patch.lock}):
            try:
                key = key_named(name, "the policy")
                if name in patch.set:
                    key.accept(patch.set[name], "the policy")
            except BangerError as problem:
                self.asks(False, f"what is set can be set: {problem.summary}; {problem.tries[0]}")

    def survives_json_values(self, patch: SshPatch) -> None:
        """Ask that what is set can be stored: the plan keeps it."""
        from banger_core.jsonable import to_json

        try:
            to_json(patch.set)
        except TypeError as problem:
            self.asks(False, f"values can be stored as JSON: {problem}")
