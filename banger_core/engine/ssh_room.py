"""SSH policy in force: folded anew whenever somebody asks, so that it holds for VMs of any age."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from banger_core.config.settings import Settings, load_settings
from banger_core.engine.ssh import remove_note, ssh_target, write_note
from banger_core.engine.ssh_explain import explanation
from banger_core.engine.ssh_policy import Stamp, policy, stamps
from banger_core.errors import BangerError
from banger_core.model import SshSetting, SshTarget, VmPlan, VmRecord, VmRequest, VmState

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine

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

    def target(self, record: VmRecord) -> SshTarget:
        """How to reach ``record`` under the policy that is in force now."""
        return ssh_target(self.current(record), self._engine.paths, self.settings())

    def explain(self, record: VmRecord) -> dict[str, Any]:
        """Who decided what for ``record``; see ``ssh_explain.explanation``."""
        record = self.current(record)
        target = ssh_target(record, self._engine.paths, self.settings())
        return explanation(record.plan, target)

    def current(self, record: VmRecord) -> VmRecord:
        """Return ``record`` with the policy that is in force now."""
        return replace(record, plan=replace(record.plan, ssh=self.fold(record.plan)))

    def refresh(self) -> None:
        """Write the notes anew when a file that has a say has changed. What cannot be folded is
        withdrawn: plain ssh reads no policy, and must not go on under an old one.
        """
        paths, now = self._engine.paths, stamps(self._engine.paths)
        if now == self._noted:
            return
        self._noted = now
        for record in self._engine.records.vms():
            if record.state not in (VmState.RUNNING, VmState.PAUSED):
                continue
            try:
                write_note(paths, self.target(record))
            except BangerError as problem:
                log.warning("%s cannot be reached: %s", record.name, problem.summary)
                remove_note(paths, record.name)
