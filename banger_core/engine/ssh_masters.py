"""One connection to each running VM that commands share, so that they need no handshake.

It is a process of its own, which outlives the daemon as the VM does: what runs over it goes on. It
is kept in the VM's runtime directory like the VMM's process, and ended in the same way. Commands
that find none connect by themselves.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.config.paths import secure_dir
from banger_core.engine import process
from banger_core.engine.ssh import control_path, ssh_path
from banger_core.errors import BangerError
from banger_core.model import SshTarget, VmRecord, VmState

if TYPE_CHECKING:
    from banger_core.engine.engine import Engine

SETTLE = 2.0
"""Seconds that a new VM is left to its first command, which is on its way and would have to share
the guest's processor with another handshake."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0
LONG_LIFE = 60.0

log = logging.getLogger("banger.engine")


def master_argv(target: SshTarget, agent: str = "") -> list[str]:
    """Return the command that holds the shared connection open, in the foreground. ``agent`` is
    the socket of the user's ssh-agent, for keys with a passphrase.
    """
    # ControlMaster=auto in the commands themselves would do without this, but those that start
    # at the same time complain of each other on stderr, which belongs to the guest's program
    options = ["-o", "BatchMode=yes", "-o", "ControlMaster=yes"]
    if agent:
        options += ["-o", f"IdentityAgent={ssh_path(Path(agent))}"]
    return ["ssh", "-N", *options, *target.argv[1:]]


class Masters:
    """The shared connections of one engine's VMs."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._keepers: dict[str, asyncio.Task[None]] = {}

    async def begin(self, record: VmRecord, settle: float = SETTLE) -> None:
        """Keep a connection to a VM that runs, from ``settle`` seconds from now on; one that an
        earlier daemon left is kept. Nothing when policy wants none.
        """
        if record.id in self._keepers or not self._wanted(record):
            return
        directory = self._directory(record.id)

        async def start() -> None:
            secure_dir(directory)
            self._keepers[record.id] = asyncio.create_task(
                self._keep(record.id, settle), name=f"shared connection to {record.name}"
            )

        effects = self._engine.effects
        begun = [
            each for each in self._engine.intents.of(record.id) if each.subject == str(directory)
        ]
        if begun:
            await effects.redo(begun[0], start)
        else:
            await effects.do(record.id, "process", str(directory), start)

    async def end(self, vm_id: str) -> None:
        """Open no new connection to that VM. The one that is there is an effect, undone as such."""
        if keeper := self._keepers.pop(vm_id, None):
            keeper.cancel()
            await asyncio.wait([keeper])

    async def close(self) -> None:
        """Look after nothing any more; the connections go on."""
        for vm_id in list(self._keepers):
            await self.end(vm_id)

    async def _keep(self, vm_id: str, settle: float) -> None:
        directory, pause = self._directory(vm_id), FIRST_PAUSE
        if (last := process.recorded(directory)) and process.alive(last):
            await process.wait_gone(last)
        else:
            await asyncio.sleep(settle)
        while True:
            record = self._engine.records.vm(vm_id)
            began = time.monotonic()
            if record.state is VmState.RUNNING:
                await self._hold(record, directory)
            pause = FIRST_PAUSE if time.monotonic() - began > LONG_LIFE else pause
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _hold(self, record: VmRecord, directory: Path) -> None:
        """Open the connection, and return when it has ended or could not be had."""
        try:
            target = self._engine.ssh.target(record)
            if not (socket := control_path(target)):
                return
            # Of one that was killed: ssh would complain of it every time
            Path(socket).unlink(missing_ok=True)
            argv = master_argv(target, os.environ.get("SSH_AUTH_SOCK", ""))
            master = await process.spawn(argv, directory=directory)
        except (BangerError, OSError) as problem:
            log.info("no shared connection to %s: %s", record.name, problem)
            return
        await process.wait_gone(master)

    def _wanted(self, record: VmRecord) -> bool:
        try:
            return bool(control_path(self._engine.ssh.target(record)))
        except BangerError:
            return False

    def _directory(self, vm_id: str) -> Path:
        return self._engine.paths.vm_runtime(vm_id) / "master"
