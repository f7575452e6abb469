"""``banger vm run --foreground``: one machine as one process, with an engine and no daemon.

    python -m banger_core.daemon.foreground SPEC LIFELINE
    python -m banger_core.daemon.foreground --sweep

The second removes what a run that was killed has left. SPEC is a file or ``-``; LIFELINE the
descriptor of a pipe whose other end the command line holds: when that closes, whoever asked is gone
and the machine is stopped. Events go to stdout.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import secrets
import shlex
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from enum import StrEnum
from typing import Any

from banger_core.config.paths import Paths
from banger_core.daemon.emitter import LAST_LINES, Emitter
from banger_core.daemon.spec import Spec, read_spec
from banger_core.engine.alone import borrow_image, drop_all, state_of_its_own, sweep_runs
from banger_core.engine.engine import Engine
from banger_core.engine.events import Subscription
from banger_core.engine.operations import Operation
from banger_core.errors import BangerError, ExitCode
from banger_core.escapes import EscapeStripper
from banger_core.model import Event, SshTarget, VmRecord

KILLED = 128 + signal.SIGKILL
LOST = 255
"""The status of an ssh whose connection broke, or of a command that ended so."""

_CHUNK = 1 << 16
_SETTLE = 3.0


class How(StrEnum):
    """How a run ended: its command did, the guest shut down or broke, or it was stopped."""

    COMMAND = "command"
    SHUTDOWN = "shutdown"
    BROKEN = "broken"
    STOPPED = "stopped"
    FORCED = "forced"
    FAILED = "failed"


def main() -> None:
    """Run one machine and leave with the status that tells how it ended."""
    os.umask(0o077)
    logging.basicConfig(level=os.environ.get("BANGER_LOG", "WARNING").upper(), stream=sys.stderr)
    try:
        match sys.argv[1:]:
            case ["--sweep"]:
                asyncio.run(_sweep())
                status = int(ExitCode.OK)
            case [place, lifeline]:
                status = asyncio.run(_go(place, int(lifeline)))
            case _:
                sys.exit(__doc__)
    except BangerError as problem:
        # Nothing was begun: there is no event of it
        _tell(problem)
        status = problem.exit_code
    # A thread that writes to a reader who does not read would keep us
    os._exit(status)


async def _sweep() -> None:
    from banger_core.config.settings import load_settings
    from banger_core.plugins.registry import load_registry

    home = Paths.from_environment().ready()
    registry = load_registry(home)
    await sweep_runs(home, load_settings(home, registry), registry)


async def _go(place: str, lifeline: int) -> int:
    from banger_core.config.settings import load_settings
    from banger_core.engine.failpoints import check_environment
    from banger_core.plugins.registry import load_registry

    asked = Asked(lifeline)
    emitter = Emitter(sys.stdout.fileno())
    try:
        spec = read_spec(place)
        check_environment()
        home = Paths.from_environment().ready()
        registry = load_registry(home)
        settings = load_settings(home, registry)
        await sweep_runs(home, settings, registry)
        with state_of_its_own(home) as paths:
            engine = Engine(paths, settings, registry, lasts=False)
            try:
                how, status = await Run(engine, home, spec, asked, emitter).go()
            finally:
                await engine.close()
        await emitter.say("run.ended", how=how, status=status)
    except BangerError as problem:
        _tell(problem)
        status = int(problem.exit_code)
        await emitter.say("run.ended", how=How.FAILED, status=status, error=problem.to_dict())
    finally:
        await emitter.close()
    return status


def _tell(problem: BangerError) -> None:
    lines = [f"error: {problem.summary}"]
    lines += [f"cause: {problem.cause}"] if problem.cause else []
    lines += [f"try: {hint}" for hint in problem.tries]
    sys.stderr.write("\n".join(lines) + "\n")


class Asked:
    """What is asked of a run from outside: the first signal, or the end of whoever wanted it,
    asks it to stop; the second one to do so at once.
    """

    def __init__(self, lifeline: int) -> None:
        self.number = 0
        self._stop, self._now = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)

        def gone() -> None:
            loop.remove_reader(lifeline)
            self._signalled(signal.SIGTERM)

        loop.add_reader(lifeline, gone)

    def _signalled(self, number: int) -> None:
        (self._now if self._stop.is_set() else self._stop).set()
        self.number = self.number or number

    async def to_stop(self) -> None:
        """Return when the run is to stop."""
        await self._stop.wait()

    async def at_once(self) -> None:
        """Return when it is to stop at once."""
        await self._now.wait()


class Run:
    """One machine from its making to its end. Nothing of it is left afterwards."""

    def __init__(
        self, engine: Engine, home: Paths, spec: Spec, asked: Asked, emitter: Emitter
    ) -> None:
        self._engine, self._home, self._spec = engine, home, spec
        self._asked, self._emitter = asked, emitter

    async def go(self) -> tuple[How, int]:
        """Return how it ended, and the exit status that tells. Raises what kept it from
        beginning.
        """
        with self._engine.events.subscribe() as told:
            passing = asyncio.create_task(self._pass_on(told))
            try:
                await self._engine.open()
                return await self._live()
            finally:
                await drop_all(self._engine)
                await _taken(told)
                passing.cancel()
                await asyncio.gather(passing, return_exceptions=True)

    async def _pass_on(self, told: Subscription) -> None:
        async for event in told:
            await self._emitter.pass_on(event)

    async def _live(self) -> tuple[How, int]:
        with self._engine.events.subscribe() as told:
            work = asyncio.create_task(self._make())
            stop = asyncio.create_task(self._asked.to_stop())
            try:
                await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
                if not work.done():
                    work.cancel()
                    await asyncio.wait({work})
                    if work.cancelled() or work.exception():
                        return How.STOPPED, 128 + self._asked.number
                record, target = work.result()
                async with self._console(record):
                    return await self._watch(record, target, told, stop)
            finally:
                stop.cancel()

    async def _make(self) -> tuple[VmRecord, SshTarget]:
        engine = self._engine
        operation = Operation(engine.events, "running a machine")
        wanted = self._spec.image or engine.settings.image.default
        await borrow_image(engine, self._home, wanted, operation)
        request = replace(self._spec.request(), image=wanted)
        record, target = await engine.machines.create(request, operation, start=True)
        assert target is not None
        net = record.plan.net
        engine.events.publish(
            "run.ready",
            vm=record.id,
            name=record.name,
            address=net.host_address or net.guest_address.partition("/")[0],
            ports=[str(forward.publish) for forward in net.forwards],
            seconds=operation.timing.get("ready"),
            warm=record.warm,
        )
        return record, target

    async def _watch(
        self, record: VmRecord, target: SshTarget, told: Subscription, stop: asyncio.Task[None]
    ) -> tuple[How, int]:
        """Wait for the first of three ends, and bring about the others."""
        ended = asyncio.create_task(_exit_of(record.id, told))
        awaited: set[asyncio.Task[Any]] = {ended, stop}
        command = None
        if self._spec.command or self._spec.entrypoint:
            command = asyncio.create_task(self._command(target, record.id))
            awaited.add(command)
        try:
            await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
            if command is not None and command.done() and not stop.done():
                if command.result() == LOST:
                    # Perhaps because the command has shut the machine down
                    await asyncio.wait({ended}, timeout=_SETTLE)
                if not ended.done():
                    await self._end(record)
                    return How.COMMAND, command.result()
            if ended.done():
                broken = await self._problem(record)
                return (How.BROKEN, ExitCode.FAILED) if broken else (How.SHUTDOWN, ExitCode.OK)
            forced = await self._end(record)
            if command is not None:
                return How.FORCED if forced else How.STOPPED, 128 + self._asked.number
            return (How.FORCED, KILLED) if forced else (How.STOPPED, ExitCode.OK)
        finally:
            for task in filter(None, (ended, command)):
                task.cancel()
            await asyncio.gather(*filter(None, (ended, command)), return_exceptions=True)

    async def _problem(self, record: VmRecord) -> str:
        async with self._engine.machines.locked(record.id):
            return self._engine.records.vm(record.id).problem

    async def _end(self, record: VmRecord) -> bool:
        """Stop the machine, and say whether it had to be forced."""
        operation = Operation(self._engine.events, "stopping the machine")
        with self._engine.events.subscribe() as told:
            clean = asyncio.create_task(self._engine.machines.stop(record.id, operation))
            now = asyncio.create_task(self._asked.at_once())
            await asyncio.wait({clean, now}, return_when=asyncio.FIRST_COMPLETED)
            if not clean.done():
                clean.cancel()
            now.cancel()
            await asyncio.gather(clean, now, return_exceptions=True)
            if clean.cancelled() or clean.exception():
                await self._engine.machines.stop(record.id, operation, force=True)
                return True
            return any(
                event.kind == "vm.stopped" and event.data["forced"] for event in told.waiting()
            )

    # --- what the machine says ---------------------------------------------------------------

    async def _command(self, target: SshTarget, vm: str) -> int:
        words = [f"banger-as {self._spec.user}"] if self._spec.user else []
        verb = "banger-image" if self._spec.entrypoint else "banger-exec"
        words += [verb, secrets.token_hex(6)]
        words += [shlex.join(self._spec.command)] if self._spec.command else []
        ssh = await asyncio.create_subprocess_exec(
            *(target.argv[0], "-T", *target.argv[1:], " ".join(words)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert ssh.stdout
        assert ssh.stderr
        try:
            await asyncio.gather(
                self._say_output(ssh.stdout, "stdout", vm),
                self._say_output(ssh.stderr, "stderr", vm),
            )
            return await ssh.wait()
        finally:
            if ssh.returncode is None:
                ssh.kill()
                await ssh.wait()

    async def _say_output(self, stream: asyncio.StreamReader, name: str, vm: str) -> None:
        rest = b""
        while data := await stream.read(_CHUNK):
            whole, rest = _whole_letters(rest + data)
            if whole:
                await self._emitter.say("vm.output", vm=vm, stream=name, **_as_data(whole))
        if rest:
            await self._emitter.say("vm.output", vm=vm, stream=name, **_as_data(rest))

    @asynccontextmanager
    async def _console(self, record: VmRecord) -> AsyncIterator[None]:
        if not self._spec.console:
            yield
            return
        following = asyncio.create_task(self._say_console(record.id))
        try:
            yield
        finally:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)

    async def _say_console(self, vm: str) -> None:
        ring, stripper = self._engine.console(vm), EscapeStripper()
        coming = ring.follow()
        await self._emitter.say("vm.console", vm=vm, text=stripper.feed(ring.read()))
        async for data in coming:
            await self._emitter.say("vm.console", vm=vm, text=stripper.feed(data))


async def _taken(told: Subscription) -> None:
    """Return when all that was published is passed on, or the reader takes too long."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LAST_LINES):
            while told.waiting():  # noqa: ASYNC110 - a queue tells nobody that it is empty
                await asyncio.sleep(0.01)


async def _exit_of(vm: str, told: Subscription) -> Event:
    async for event in told:
        if event.kind == "vm.exited" and event.vm == vm:
            return event
    raise AssertionError("subscriptions do not end")


def _whole_letters(data: bytes) -> tuple[bytes, bytes]:
    """Part ``data`` before a letter of UTF-8 of which only the beginning has come."""
    try:
        data.decode()
    except UnicodeDecodeError as problem:
        if problem.reason == "unexpected end of data":
            return data[: problem.start], data[problem.start :]
    return data, b""


def _as_data(data: bytes) -> dict[str, str]:
    """Text where it is UTF-8, else base64 (RFC 4648, 4): a program may write anything."""
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(data).decode()}


if __name__ == "__main__":
    main()
