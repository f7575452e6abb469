"""Wire and unwire: plan, write down, change, look whether it works; undo when it does not."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from banger_core.api import BangerError, FileLock, HostNotReady, NotFound
from banger_dns.names import reverse_zone
from banger_dns.wiring.hands import Hands
from banger_dns.wiring.journal import Undone, Wiring, plan_file
from banger_dns.wiring.probe import ask_host, wait_for_host
from banger_dns.wiring.resolvers import Resolver, Server, find

SETTLE = 8.0
"""Seconds that a resolver may take to come up with its new configuration."""

LOCK = "wiring.lock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How things are: the resolvers there are, what is wired, and why names are not found (empty:
    they are).
    """

    server: Server
    resolvers: tuple[Resolver, ...]
    wired: Wiring | None
    problem: str


class Wirer:
    """Wires this host to the responder that ``status`` (the service's answer) tells of."""

    def __init__(
        self, status: dict[str, Any], say: Callable[[str], None], hands: Hands | None = None
    ) -> None:
        responder = status["responder"]
        self._state = Path(status["state_dir"])
        self._responder, self._say = responder, say
        self._hands = hands or Hands()
        zones = (status["zone"], *map(reverse_zone, status["reverse"]))
        self.server = Server(address=responder["address"], port=responder["port"], zones=zones)

    def look(self) -> Look:
        """Look, change nothing."""
        return Look(
            server=self.server,
            resolvers=tuple(find(self.server)),
            wired=Wiring.read(self._state),
            problem=self._not_found(),
        )

    def wire(self, name: str = "", reload: tuple[str, ...] | None = None) -> Resolver | None:
        """Make this host find names; return the resolver that was wired, None when it found them
        already. ``name`` chooses among several, ``reload`` is run in place of its own command.

        Raises HostNotReady with the lines to add when that cannot be done.
        """
        self._needs_responder()
        with self._alone():
            before = Wiring.read(self._state)
            if not self._not_found():
                if before and not before.done:
                    replace(before, done=True).write(self._state)
                return None
            if before:
                self._say(f"undoing what was wired to {before.server} before")
                self._hands.check()
                before.undo(self._hands, self._state)
            chosen = _choose(find(self.server), name, given=reload is not None)
            self._hands.check()
            self._change(chosen, chosen.reload if reload is None else reload)
            return chosen

    def unwire(self) -> Undone | None:
        """Undo what ``wire`` did, and say how that went; None when nothing is wired."""
        with self._alone():
            wired = Wiring.read(self._state)
            if wired is None:
                return None
            self._hands.check()
            return wired.undo(self._hands, self._state)

    def _change(self, chosen: Resolver, reload: tuple[str, ...]) -> None:
        data = chosen.text.encode("utf-8", "surrogateescape")
        wiring = Wiring(
            resolver=chosen.name,
            server=str(self.server),
            steps=tuple(plan_file(chosen.path, data, self._hands)),
            reload=reload,
        )
        wiring.write(self._state)
        try:
            wiring.apply(self._hands)
            self._say(f"{chosen.path} is written; asking this host for a name")
            self._try_out(chosen)
        except BaseException:
            wiring.undo(self._hands, self._state)
            raise
        replace(wiring, done=True).write(self._state)

    def _try_out(self, chosen: Resolver) -> None:
        if reason := wait_for_host(self._responder["token"], SETTLE):
            raise HostNotReady(
                f"{chosen.name} was pointed at {self.server}, but this host does not find names; "
                "everything is as it was",
                cause=reason,
                hints=[f"dig -p {self.server.port} @{self.server.address} vm SOA"],
            )

    def _not_found(self) -> str:
        if not self._responder["token"]:
            return "names are not served"
        return ask_host(self._responder["token"])

    def _needs_responder(self) -> None:
        if self._responder["token"]:
            return
        if problem := self._responder["problem"]:
            raise BangerError.from_dict(problem)
        raise HostNotReady(
            "names are not served",
            cause="" if self._responder["enabled"] else "the responder is switched off",
            hints=["set responder = true in [plugins.dns], then banger daemon stop"],
        )

    def _alone(self) -> FileLock:
        return FileLock(self._state / LOCK)


def _choose(found: list[Resolver], name: str, *, given: bool) -> Resolver:
    """The resolver that was named, or the first one. Raises HostNotReady with the lines to add."""
    if name:
        named = [each for each in found if each.name == name]
        if not named:
            raise NotFound("resolver", name, [each.name for each in found])
        found = named
    first = found[0]
    if first.obstacle:
        raise HostNotReady(
            f"{first.name} cannot be wired",
            cause=first.obstacle,
            hints=[*filter(None, [first.way_out]), *by_hand(first)],
        )
    if first.reload and not given and _is_missing(first.reload[0]):
        raise HostNotReady(
            f"{first.name} cannot be made to see its new configuration",
            cause=f"that takes {shlex.join(first.reload)}, and there is no such thing here",
            hints=["--reload COMMAND, which restarts it", *by_hand(first)],
        )
    return first


def by_hand(resolver: Resolver) -> list[str]:
    """What a person would add, line by line."""
    return [f"add to {resolver.path}:", *resolver.lines]


def _is_missing(program: str) -> bool:
    if program == "systemctl":
        # As sd_booted(3) finds out; the program alone does not mean that systemd runs
        return not Path("/run/systemd/system").is_dir()
    return shutil.which(program) is None
