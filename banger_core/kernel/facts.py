"""What the files of a kernel say about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from banger_core.kernel.configuration import (
    CONFIGURATION_MAX,
    embedded_configuration,
    parse_configuration,
)
from banger_core.kernel.features import FEATURES, Feature, State
from banger_core.kernel.identity import identify
from banger_core.kernel.modulelist import ModuleList
from banger_core.kernel.vmlinux import pvh_entry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from banger_core.model import KernelFiles


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelFacts:
    """``version``, ``distro`` and ``architecture`` as the image says them (empty: it does not).

    ``evidence`` says where ``features`` come from; ``features`` has those of ``FEATURES`` that
    concern this architecture, by name. ``modules_for`` is the release that the modules were built
    for, empty without any.
    ``misses`` says, one line each, what a guest will go without; ``fatal`` those of them with
    which no guest comes up.
    """

    version: str
    distro: str
    architecture: str
    evidence: str
    features: Mapping[str, State]
    modules_for: str = ""
    misses: tuple[str, ...] = ()
    fatal: tuple[str, ...] = ()


def read_facts(files: KernelFiles) -> KernelFacts:
    """Look into a kernel's files; its ``vmlinux`` is an ELF file. Raises OSError.

    A feature is looked for in the configuration (inside the image, else ``files.config``), then in
    the lists of modules, then by texts in the image that only a kernel with it has.
    """
    vmlinux = files.vmlinux.read_bytes()
    identity = identify(vmlinux)
    modules = ModuleList(files.modules) if files.modules is not None else None
    witness = _Witness(vmlinux, _configuration(vmlinux, files), modules)
    # The PVH entry is a matter of x86 only
    wanted = [one for one in FEATURES if one.name != "pvh" or identity.architecture == "amd64"]
    features = {feature.name: witness.state(feature) for feature in wanted}
    modules_for = modules.release() if modules else ""
    misses, fatal = _judge(features)
    if modules_for and identity.version and modules_for != identity.version:
        fatal.append(f"the modules are for {modules_for}, the kernel is {identity.version}")
    return KernelFacts(
        version=identity.version,
        distro=identity.distro,
        architecture=identity.architecture,
        evidence=witness.evidence,
        features=features,
        modules_for=modules_for,
        misses=tuple(misses),
        fatal=tuple(fatal),
    )


class _Witness:
    """Tells how a kernel has a feature, from the best evidence there is."""

    def __init__(
        self, vmlinux: bytes, configuration: tuple[str, str], modules: ModuleList | None
    ) -> None:
        self._vmlinux = vmlinux
        self.evidence, text = configuration
        self._settings = parse_configuration(text)
        self._modules = modules
        self._files = modules.files.keys() if modules else ()
        self._builtin = modules.builtin if modules else None
        if not self._settings:
            listed = self._builtin is not None
            self.evidence = "lists of modules" if listed else "texts in the image"

    def state(self, feature: Feature) -> State:
        if feature.name == "pvh":
            return State.BUILT_IN if pvh_entry(self._vmlinux) else State.MISSING
        if self._settings:
            return self._configured(feature)
        if feature.module in self._files:
            return State.MODULE
        if feature.module in (self._builtin or ()) or feature.trace in self._vmlinux:
            return State.BUILT_IN
        # Lists name whatever can be a module; silence about anything else means nothing
        listed = self._builtin is not None and feature.module
        return State.MISSING if listed else State.UNKNOWN

    def _configured(self, feature: Feature) -> State:
        values = {self._settings.get(symbol) for symbol in feature.symbols}
        if "y" in values:
            return State.BUILT_IN
        # A module that was not given is as good as none
        return State.MODULE if "m" in values and feature.module in self._files else State.MISSING


def _configuration(vmlinux: bytes, files: KernelFiles) -> tuple[str, str]:
    """Return where the configuration was found, and its text; empty when nowhere."""
    if text := embedded_configuration(vmlinux):
        return "configuration inside the image", text
    if files.config is not None:
        with files.config.open("rb") as file:
            text = file.read(CONFIGURATION_MAX).decode("utf-8", "replace")
        return "configuration file", text
    return "", ""


def _judge(features: Mapping[str, State]) -> tuple[list[str], list[str]]:
    """Say what guests miss, and what of it keeps them from coming up at all."""
    misses = [
        f"no {feature.name}: {feature.loss}"
        for feature in FEATURES
        if features.get(feature.name) is State.MISSING
    ]
    groups: dict[str, list[Feature]] = {}
    for feature in FEATURES:
        if feature.group:
            groups.setdefault(feature.group, []).append(feature)
    fatal = [
        f"it has no {' and no '.join(one.name for one in members)}: {members[0].loss}"
        for members in groups.values()
        if all(features[one.name] is State.MISSING for one in members)
    ]
    return misses, fatal
