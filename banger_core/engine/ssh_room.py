"""SSH policy in force: folded anew whenever somebody asks, so that it holds for VMs of any age."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from banger_core.config.settings import Settings, load_settings
from banger_core.engine.pins import pin_again
from banger_core.engine.ssh import remove_note, ssh_target, write_note
from banger_core.engine.ssh_explain import explanation
from banger_core.engine.ssh_identity import (
    check_key,
    has_passphrase,
    identity_path,
    public_key,
)
from banger_core.engine.ssh_policy import Stamp, policy, stamps
from banger_core.errors import BangerError, HostNotReady, NotFound
from banger_core.model import SshSetting, SshTarget, VmPlan, VmRecord, VmRequest, VmState
from banger_core.plan.ssh_keys import allows_key

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine
    from banger_core.engine.operations import Operation

_REACHABLE = (VmState.RUNNING, VmState.PAUSED)

OWN_KEY_TYPE = "ssh-ed25519"
"""The type of the key that banger makes for itself."""

log = logging.getLogger("banger.engine")


class SshRoom:
    """The policies of one engine's VMs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._seen = stamps(engine.paths)
        self._settings = engine.settings
        self._noted: Mapping[str, Stamp | None] = self._seen

    def settings(self) -> Settings:
        """The user's settings as they are in the file now. Raises UsageProblem."""
        now, file = stamps(self._engine.paths), str(self._engine.paths.settings_file)
        if now[file] != self._seen[file]:
            self._settings = load_settings(self._engine.paths, self._engine.registry)
            self._seen = now
        return self._settings

    def fold(self, vm: VmRequest | VmPlan) -> dict[str, SshSetting]:
        """Fold all layers for a VM; raises what ``ssh_policy.policy`` does."""
        return policy(self._engine.registry, self.settings(), vm)

    async def check_key(self, ssh: Mapping[str, SshSetting], operation: Operation) -> None:
        """Find out before anything boots whether the key can log in under the policy ``ssh``.

        Raises HostNotReady when it cannot. A passphrase that no agent knows is only said: ssh
        itself can ask for it.
        """
        settings = self.settings()
        path, kind = identity_path(self._engine.paths, settings), OWN_KEY_TYPE
        if settings.ssh.ssh_key_path:
            check_key(path)
            public = await public_key(path, self._engine.run)
            kind = public.split()[0]
            if has_passphrase(path) and not await self._agent_holds(public):
                operation.notice(f"{path} has a passphrase that no agent knows: ssh-add {path}")
        wanted = ssh["public_key_algorithms"]
        if not allows_key(wanted.value, kind):
            raise HostNotReady(
                f"the SSH key {path} may not be used here",
                cause=f"it is of the type {kind}; {wanted.origin} allows {wanted.value}",
                hints=["set ssh_key_path in [ssh] to another key", "banger config show"],
            )

    async def _agent_holds(self, public: str) -> bool:
        try:
            keys = (await self._engine.run(["ssh-add", "-L"], timeout=5)).decode(errors="replace")
        except BangerError:
            return False
        return any(line.split()[:2] == public.split() for line in keys.splitlines())

    def target(self, record: VmRecord) -> SshTarget:
        """How to reach ``record`` under the policy that is in force now."""
        # Taken first: what changes while the layers are read makes the note old, not wrong
        seen = stamps(self._engine.paths)
        target = ssh_target(self.current(record), self._engine.paths, self.settings())
        return replace(target, stamps=seen)

    def explain(self, record: VmRecord) -> dict[str, Any]:
        """Who decided what for ``record``; see ``ssh_explain.explanation``."""
        record = self.current(record)
        target = ssh_target(record, self._engine.paths, self.settings())
        return explanation(record.plan, target)

    def current(self, record: VmRecord) -> VmRecord:
        """Return ``record`` with the policy that is in force now."""
        return replace(record, plan=replace(record.plan, ssh=self.fold(record.plan)))

    async def refresh(self) -> None:
        """Write the notes anew when a file that has a say has changed, and pin anew: an authority
        that is trusted no more is forgotten at once. What cannot be folded is withdrawn: plain
        ssh reads no policy, and must not go on under an old one.
        """
        now = stamps(self._engine.paths)
        if now == self._noted:
            return
        self._noted = now
        for vm_id in [vm.id for vm in self._engine.records.vms() if vm.state in _REACHABLE]:
            # Nobody stops or deletes it meanwhile
            async with self._engine.machines.locked(vm_id):
                with suppress(NotFound):
                    await self._renew(self._engine.records.vm(vm_id))

    async def _renew(self, record: VmRecord) -> None:
        if record.state not in _REACHABLE:
            return
        try:
            await pin_again(self._engine, self.current(record))
            if record.state is VmState.RUNNING:
                write_note(self._engine.paths, self.target(record))
        except BangerError as problem:
            log.warning("%s cannot be reached: %s", record.name, problem.summary)
            remove_note(self._engine.paths, record.name)
