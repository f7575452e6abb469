"""What plugins offer, by kind and name; code is imported when a name is chosen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from banger_core import declare
from banger_core.errors import Conflict, NotFound
from banger_core.jsonable import from_json
from banger_core.plugins.index import Index, load_index
from banger_core.plugins.isolation import isolate, isolated, plugin_error
from banger_core.plugins.kinds import KINDS, SETTINGS, Kind, missing_methods
from banger_core.plugins.known import MISTAKEN, install_advice
from banger_core.plugins.loading import NotLoadable, load_target
from banger_core.plugins.trace import traced

if TYPE_CHECKING:
    from pydantic import BaseModel

    from banger_core import contracts
    from banger_core.config.paths import Paths
    from banger_core.plugins.record import PluginRecord

D = TypeVar("D", bound=declare.Declared)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Offer(Generic[D]):
    """One declaration and the plugin that made it."""

    declaration: D
    plugin: PluginRecord


@dataclass(frozen=True, slots=True)
class Loaded(Generic[D, T]):
    """One declaration, the plugin that made it, and the implementation behind it."""

    declaration: D
    plugin: PluginRecord
    implementation: T


class Catalogue(Generic[D, T]):
    """Everything of one kind, chosen by name.

    A name that two plugins declare belongs to neither: using it raises Conflict, and all other
    names work.
    """

    def __init__(self, kind: Kind[D], offers: Iterable[Offer[D]]) -> None:
        self.kind = kind
        self._offers: dict[str, list[Offer[D]]] = {}
        for offer in offers:
            self._offers.setdefault(offer.declaration.name, []).append(offer)
        self._loaded: dict[str, T] = {}

    def names(self) -> list[str]:
        """Return the names that can be used, in declared order."""
        return [name for name, offers in self._offers.items() if len(offers) == 1]

    def declared(self, name: str) -> D:
        """Return the declaration of ``name``. Raises NotFound or Conflict."""
        return self._offer(name).declaration

    def owner(self, name: str) -> PluginRecord:
        """Return the plugin that declares ``name``. Raises NotFound or Conflict."""
        return self._offer(name).plugin

    def load(self, name: str) -> T:
        """Return the implementation of ``name``, importing it the first time.

        Its methods raise nothing but ``BangerError`` (see ``isolation``). Raises NotFound,
        Conflict, or PluginError when it cannot be imported or does not meet its contract.
        """
        if name not in self._loaded:
            self._loaded[name] = _load(self.kind, self._offer(name))
        return self._loaded[name]

    def all(self) -> list[Loaded[D, T]]:
        """Load everything, in declared order. Raises Conflict or PluginError for the first that
        cannot be used: a layer is never left out silently.
        """
        for clash in self.clashes():
            raise clash
        return [
            Loaded(self.declared(name), self.owner(name), self.load(name)) for name in self.names()
        ]

    def offers(self) -> list[Offer[D]]:
        """Return every declaration, those of names that clash too."""
        return [offer for offers in self._offers.values() for offer in offers]

    def clashes(self) -> list[Conflict]:
        """Return the error of every name that two plugins declare."""
        return [
            _clash(self.kind.noun, name, [offer.plugin for offer in offers])
            for name, offers in self._offers.items()
            if len(offers) > 1
        ]

    def _offer(self, name: str) -> Offer[D]:
        offers = self._offers.get(name, [])
        if not offers:
            raise NotFound(self.kind.noun, name, self.names(), hints=["banger plugin list"])
        if len(offers) > 1:
            raise _clash(self.kind.noun, name, [offer.plugin for offer in offers])
        return offers[0]


class Layers(Catalogue[D, T]):
    """Everything of one kind, of which all apply: those named in ``after`` go first."""

    def names(self) -> list[str]:
        """Return the names in declared order. Raises Conflict when they wait for each other."""
        waits = {
            name: getattr(offers[0].declaration, "after", ())
            for name, offers in self._offers.items()
        }
        try:
            order = list(TopologicalSorter(_installed_only(waits)).static_order())
        except CycleError as problem:
            circle = problem.args[1]
            owners = [
                offer.plugin for name in dict.fromkeys(circle) for offer in self._offers[name]
            ]
            raise Conflict(
                f"{self.kind.noun}s wait for each other: {' after '.join(reversed(circle))}",
                cause=f"they come from {', '.join(owner.label for owner in owners)}",
                hints=_ways_out(owners),
            ) from None
        return [name for name in order if len(self._offers[name]) == 1]


class Registry:
    """All kinds over one index; each attribute is named like its hook."""

    image_sources: Catalogue[declare.ImageSource, contracts.ImageSource]
    kernel_providers: Catalogue[declare.KernelProvider, contracts.KernelProvider]
    guest_runtimes: Catalogue[declare.GuestRuntime, contracts.GuestRuntime]
    networks: Catalogue[declare.Network, contracts.Network]
    vmm_drivers: Catalogue[declare.VmmDriver, contracts.VmmDriver]
    network_attachments: Layers[declare.NetworkAttachment, contracts.NetworkAttachment]
    ssh_policies: Layers[declare.SshPolicy, contracts.SshPolicyLayer]
    event_sinks: Catalogue[declare.EventSink, contracts.EventSink]
    doctor_checks: Catalogue[declare.DoctorCheck, contracts.DoctorCheck]
    commands: Catalogue[declare.Command, Any]
    services: Catalogue[declare.Service, contracts.Service]
    settings: Catalogue[declare.Settings, type[BaseModel]]

    def __init__(self, index: Index) -> None:
        """Build from ``index``. Raises ValueError when its declarations are of another version."""
        self.index = index
        for kind in KINDS:
            shape = Layers if kind.shape == "layers" else Catalogue
            setattr(self, kind.hook.removeprefix("banger_"), shape(kind, _offers(kind, index)))

    def plugins(self) -> tuple[PluginRecord, ...]:
        """Return every plugin that is installed, usable or not."""
        return self.index.plugins

    def image_source_for(self, scheme: str) -> str:
        """Return the name of the image source for ``scheme``. Raises Conflict, and NotFound with
        what to install.
        """
        owners = self._schemes().get(scheme, [])
        if not owners:
            advice = [*install_advice(scheme, self.plugins()), "banger plugin list"]
            missing = NotFound("image scheme", scheme, self._schemes(), hints=advice)
            if scheme in MISTAKEN:
                # What it is called here is known: no other name is nearer
                missing.hints = tuple(advice)
            raise missing
        if len(owners) > 1:
            raise _clash("image scheme", scheme, [owner.plugin for owner in owners])
        return owners[0].declaration.name

    def catalogues(self) -> list[Catalogue[Any, Any]]:
        """Return the catalogue of every kind."""
        return [getattr(self, kind.hook.removeprefix("banger_")) for kind in KINDS]

    def every_offer(self) -> list[Offer[Any]]:
        """Return all declarations of all kinds."""
        return [offer for catalogue in self.catalogues() for offer in catalogue.offers()]

    def clashes(self) -> list[Conflict]:
        """Return one error for each name or scheme that several plugins declare."""
        found = [clash for catalogue in self.catalogues() for clash in catalogue.clashes()]
        return found + [
            _clash("image scheme", scheme, [owner.plugin for owner in owners])
            for scheme, owners in self._schemes().items()
            if len(owners) > 1
        ]

    def _schemes(self) -> dict[str, list[Offer[declare.ImageSource]]]:
        schemes: dict[str, list[Offer[declare.ImageSource]]] = {}
        for offer in self.image_sources.offers():
            for scheme in offer.declaration.schemes:
                schemes.setdefault(scheme, []).append(offer)
        return schemes


def load_registry(paths: Paths, *, no_plugins: bool = False) -> Registry:
    """Return the registry of what is installed, under the user's selection."""
    index = load_index(paths, no_plugins=no_plugins)
    try:
        return Registry(index)
    except ValueError:
        return Registry(load_index(paths, no_plugins=no_plugins, refresh=True))


def _offers(kind: Kind[D], index: Index) -> list[Offer[D]]:
    return [
        Offer(from_json(kind.declares, data), plugin)
        for plugin in index.usable()
        for data in plugin.declarations.get(kind.hook, ())
    ]


def _load(kind: Kind[Any], offer: Offer[Any]) -> Any:
    declaration, plugin = offer.declaration, offer.plugin
    subject = f"{plugin.distribution}:{plugin.name} {kind.hook} {declaration.name} load"
    with traced(subject) as gave, isolated(plugin, kind.hook):
        try:
            found = load_target(declaration.load)
        except NotLoadable as problem:
            raise plugin_error(plugin, kind.hook, str(problem)) from problem
        implementation = found() if kind.contract else found
        gave.append(declaration.load)
    if missing := missing_methods(declaration, implementation):
        raise plugin_error(
            plugin, kind.hook, f"{declaration.load} has no method {', '.join(missing)}"
        )
    # A model is a class that is only read; everything else is called
    return implementation if kind is SETTINGS else isolate(implementation, plugin, declaration.load)


def _clash(noun: str, name: str, owners: list[PluginRecord]) -> Conflict:
    return Conflict(
        f"{noun} {name!r} is declared by {len(owners)} plugins",
        cause=f"they are {' and '.join(owner.label for owner in owners)}",
        hints=_ways_out(owners),
    )


def _ways_out(owners: list[PluginRecord]) -> list[str]:
    names = list(dict.fromkeys(owner.name for owner in owners))
    ways = [f"BANGER_DISABLE={name} for one command" for name in names]
    return [*ways, f'or for good, in config.toml: [plugins] disabled = ["{names[-1]}"]']


def _installed_only(waits: dict[str, tuple[str, ...]]) -> dict[str, list[str]]:
    return {name: [other for other in after if other in waits] for name, after in waits.items()}
