"""What the daemon and the responder tell each other, in files below ``<state>/responder``."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from banger_core.api import ProcessId, identify_process, process_alive, signal_process, write_atomic

if TYPE_CHECKING:
    from banger_dns.settings import DnsSettings

WANTED, SAID, OWNER = "wanted.json", "said.json", "owner.json"


def directory_of(state: Path) -> Path:
    """The responder's directory."""
    return state / "responder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """How the responder is to work; one that works otherwise is replaced."""

    version: str
    address: str
    port: int
    ttl: int
    subdomains: bool
    reverse: tuple[str, ...]

    @classmethod
    def of(cls, settings: DnsSettings) -> Orders:
        """What the settings want of this version."""
        return cls(
            version=_version(),
            address=settings.address,
            port=settings.port,
            ttl=settings.ttl,
            subdomains=settings.subdomains,
            reverse=settings.reverse,
        )

    @classmethod
    def read(cls, state: Path) -> Orders:
        """Read what ``write`` wrote. Raises OSError, ValueError, KeyError or TypeError."""
        data = json.loads((directory_of(state) / WANTED).read_bytes())
        return cls(**{**data, "reverse": tuple(data["reverse"])})

    def write(self, state: Path) -> None:
        """Leave them for responders that are about to start."""
        path, text = directory_of(state) / WANTED, json.dumps(asdict(self))
        if not path.is_file() or path.read_text() != text:
            write_atomic(path, text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A responder that listens: by which orders, which process, and the token of its probes.
    ``foreground`` ones belong to who started them.
    """

    orders: Orders
    process: ProcessId
    token: str
    foreground: bool = False

    @classmethod
    def own(cls, orders: Orders, token: str, *, foreground: bool) -> Said:
        """What this process has to say."""
        process = identify_process(os.getpid())
        return cls(orders=orders, process=process, token=token, foreground=foreground)

    @classmethod
    def read(cls, state: Path) -> Said | None:
        """Return what the responder that runs has said; None when none does."""
        try:
            data = json.loads((directory_of(state) / SAID).read_bytes())
            orders = Orders(**{**data["orders"], "reverse": tuple(data["orders"]["reverse"])})
            process, foreground = ProcessId(**data["process"]), bool(data["foreground"])
            said = cls(
                orders=orders, process=process, token=str(data["token"]), foreground=foreground
            )
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return said if process_alive(said.process) else None

    def write(self, state: Path) -> None:
        """Say it."""
        write_atomic(directory_of(state) / SAID, json.dumps(asdict(self)))


@cache
def _version() -> str:
    return version("banger-dns")


def nudge(state: Path) -> None:
    """Have the responder that runs read the names anew."""
    if said := Said.read(state):
        signal_process(said.process, signal.SIGHUP)


def write_owner(state: Path) -> bool:
    """Name this process as the daemon; say whether another was named before."""
    own = identify_process(os.getpid())
    if read_owner(state) == own:
        return False
    write_atomic(directory_of(state) / OWNER, json.dumps(asdict(own)))
    return True


def read_owner(state: Path) -> ProcessId | None:
    """Return the daemon that was named last."""
    try:
        return ProcessId(**json.loads((directory_of(state) / OWNER).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
