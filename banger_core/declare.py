"""What hooks yield: small frozen declarations, checked at birth. Standard library only.

A declaration says that something exists and where its code is (``load="package.module:attr"``).
The code is imported only when the declaration is chosen, so declarations can be cached as JSON.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LOAD = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_KIND = re.compile(r"[a-z-]+(\.[a-z-]+)*(\.\*)?|\*")
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")

_OWN = "vm image kernel net ssh ps daemon doctor plugin config completion version"
OWN_COMMANDS = frozenset(_OWN.split())
"""The commands that banger brings itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What every declaration has.

    ``name`` is lower-case words joined by ``-``; ``summary`` one line without a final stop;
    ``load`` names the implementation; ``requires`` lists what the host must have, as
    ``bin:NAME`` or ``dev:/dev/NAME`` (the doctor and the plan check them).

    Raises ValueError when a field has the wrong form.
    """

    name: str
    summary: str
    load: str
    requires: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name {self.name!r} is not lower-case words joined by '-'")
        if not self.summary or "\n" in self.summary:
            raise ValueError(f"{self.name}: summary must be one non-empty line")
        if not _LOAD.fullmatch(self.load):
            raise ValueError(f"{self.name}: load {self.load!r} is not 'package.module:attribute'")
        for need in self.requires:
            if need.partition(":")[0] not in ("bin", "dev") or need.endswith(":"):
                raise ValueError(f"{self.name}: requires {need!r} is not 'bin:…' or 'dev:…'")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSource(Declared):
    """Turns references of its schemes into root file systems; see ``contracts.ImageSource``.

    ``path_schemes`` are those of them whose REST begins with a path on this host: the command
    line makes it absolute, since the daemon works elsewhere.
    """

    schemes: tuple[str, ...]
    path_schemes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        Declared.__post_init__(self)
        _check_schemes(self.name, self.schemes)
        for scheme in self.path_schemes:
            if scheme not in self.schemes:
                raise ValueError(f"{self.name}: path scheme {scheme!r} is not among its schemes")


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelProvider(Declared):
    """Provides kernels by name; see ``contracts.KernelProvider``.

    ``catalogue=True`` marks the one that keeps kernels on this host
    (``contracts.KernelCatalogue``).
    """

    catalogue: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestRuntime(Declared):
    """Provides the programs that banger runs inside every guest; see ``contracts.GuestRuntime``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network(Declared):
    """Connects VMs; see ``contracts.Network``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VmmDriver(Declared):
    """Runs VMs; see ``contracts.VmmDriver``.

    ``disk_formats`` in order of preference, ``networks`` the ``NetPlan.kind`` values it can
    connect, ``features`` what else it can do (``pause``; ``snapshot``: its machines can be saved
    and restored; ``fork``: a restored one is cut off until it is connected, so that it can be
    another's copy).
    """

    disk_formats: tuple[Literal["qcow2", "raw"], ...] = ("raw",)
    networks: tuple[str, ...] = ("user",)
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DoctorCheck(Declared):
    """A check of the host; see ``contracts.DoctorCheck``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Declared):
    """A section ``[plugins.NAME]`` of the configuration; ``load`` names a pydantic model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkAttachment(Declared):
    """Acts when a VM joins or leaves its network (names, firewalls); see
    ``contracts.NetworkAttachment``. Attachments named in ``after`` go first.
    """

    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SshPolicy(Declared):
    """A layer of SSH policy; see ``contracts.SshPolicyLayer``. A plugin's own ``precedence`` is
    clamped to 1–499; only root-owned configuration raises it.
    """

    precedence: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Command(Declared):
    """A command of the command line, ``banger NAME``. ``load`` names a ``Noun`` (of the API), a
    ``typer.Typer`` or a plain function, which becomes one command as typer reads it. No name may
    be that of a command which banger brings itself.
    """

    def __post_init__(self) -> None:
        Declared.__post_init__(self)
        if self.name in OWN_COMMANDS:
            raise ValueError(f"command {self.name!r} is one of banger's own")


@dataclass(frozen=True, slots=True, kw_only=True)
class Service(Declared):
    """Works beside the daemon and answers questions; see ``contracts.Service``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventSink(Declared):
    """Observes what happens; see ``contracts.EventSink``.

    ``kinds`` are those of the events that it gets, ``vm.*`` all that begin so; without any it gets
    everything but ``progress`` and ``step``, which come many times a second.
    """

    kinds: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        Declared.__post_init__(self)
        for kind in self.kinds:
            if not _KIND.fullmatch(kind):
                raise ValueError(f"{self.name}: {kind!r} is no kind of events, as vm.ready or vm.*")

    def wants(self, kind: str) -> bool:
        """Say whether events of ``kind`` are for this sink."""
        if not self.kinds:
            return kind not in ("progress", "step")
        return any(
            kind.startswith(one[:-1]) if one.endswith("*") else kind == one for one in self.kinds
        )


def _check_schemes(name: str, schemes: tuple[str, ...]) -> None:
    if not schemes:
        raise ValueError(f"{name}: an image source needs at least one scheme")
    for scheme in schemes:
        if not _SCHEME.fullmatch(scheme):
            raise ValueError(f"{name}: scheme {scheme!r} is not a URI scheme (RFC 3986, 3.1)")
