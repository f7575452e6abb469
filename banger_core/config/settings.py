"""``config.toml``: its sections, their defaults, and errors that name file, key and value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Gt
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, ValidationError

from banger_core.config.defaults import Default, Origin, default_memory, default_vcpu
from banger_core.config.file import read_config
from banger_core.config.problems import describe
from banger_core.errors import BangerError, NotFound, UsageProblem
from banger_core.model import Accel
from banger_core.plugins.isolation import isolated
from banger_core.sizes import parse_size

if TYPE_CHECKING:
    from banger_core.config.paths import Paths
    from banger_core.plugins.registry import Registry


def _bytes(value: object) -> object:
    if isinstance(value, str):
        try:
            return parse_size(value)
        except UsageProblem as problem:
            raise ValueError(problem.cause) from None
    return value


def _absolute(value: object) -> object:
    return Path(value).expanduser() if isinstance(value, str) and value else value


# Not Field(gt=0): older pydantic keeps the default of one use in it, for all others
Size = Annotated[int, BeforeValidator(_bytes), Gt(0)]
"""Bytes, written as a number or as text like ``8G``."""

Name = Annotated[str, Field(min_length=1)]


class Section(BaseModel):
    """A table of the file: frozen, and without room for keys that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class ImageSettings(Section):
    """``[image]``: what to run when nothing is named, and how large images are made."""

    default: Name = "debian://bookworm"
    default_source: Name = "oci"
    size: Size = 8 << 30


class VmSettings(Section):
    """``[vm]``: what a VM gets when it is not said. ``stop_grace`` is in seconds; without
    ``disk_size`` a disk is as large as its image, without ``work_disk`` there is none. With
    ``warm_start`` VMs begin as a saved machine where their driver can do that, and so many of
    those are kept as ``warm_starts_kept`` says.
    """

    vcpu: int = Field(default_factory=lambda: default_vcpu().value, ge=1)
    memory: Size = Field(default_factory=lambda: default_memory().value)
    disk_size: Size | None = None
    work_disk: Size | None = None
    network: Name = "user"
    driver: Name = "qemu"
    accel: Accel = "auto"
    stop_grace: float = Field(default=10.0, ge=0, le=3600)
    warm_start: bool = True
    warm_starts_kept: int = Field(default=4, ge=1, le=100)


class KernelSettings(Section):
    """``[kernel]``: the default kernel, who provides kernels, and who keeps them here."""

    default: Name = "bookworm-cloud"
    provider: Name = "debian"
    catalogue: Name = "catalogue"


class GuestSettings(Section):
    """``[guest]``: where the programs come from that banger runs in every guest."""

    runtime: Name = "debian"


class SshSettings(Section):
    """``[ssh]``: a key pair of the user's own (the private half); without one banger makes it.

    Every other key is the user's layer of SSH policy, which ``plan.ssh_policy`` checks.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    ssh_key_path: Annotated[Path | None, BeforeValidator(_absolute)] = None


class PluginSettings(Section):
    """``[plugins]``: what is not used. The sections ``[plugins.NAME]`` belong to the plugins."""

    disabled: list[str] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One effective setting. ``key`` is dotted, ``origin`` says who decided the value."""

    key: str
    value: Any
    origin: Origin


class Settings(Section):
    """The effective settings of one banger."""

    image: ImageSettings = ImageSettings()
    vm: VmSettings = Field(default_factory=VmSettings)
    kernel: KernelSettings = KernelSettings()
    guest: GuestSettings = GuestSettings()
    ssh: SshSettings = SshSettings()
    plugins: PluginSettings = PluginSettings()
    _sections: dict[str, BaseModel] = PrivateAttr(default_factory=dict)
    _faults: dict[str, BangerError] = PrivateAttr(default_factory=dict)

    def plugin(self, name: str) -> Mapping[str, Any]:
        """Return the section ``[plugins.NAME]``, with the defaults of its model; empty when no
        plugin declares one of that name. Raises PluginError when its model cannot be used.
        """
        if name in self._faults:
            raise self._faults[name]
        section = self._sections.get(name)
        return {} if section is None else section.model_dump()

    def _add_sections(self, given: Mapping[str, Any], registry: Registry, file: Path) -> None:
        known = {offer.declaration.name for offer in registry.settings.offers()}
        if all(plugin.status == "ok" for plugin in registry.plugins()):
            # Otherwise a section may be that of a plugin which is only switched off for now
            for name in given.keys() - known:
                raise _unknown_section(name, known, file)
        for name in sorted(known):
            try:
                model = registry.settings.load(name)
                with isolated(registry.settings.owner(name), "banger_settings"):
                    section = _validated(model, given.get(name, {}), file, f"plugins.{name}")
                self._sections[name] = section
            except UsageProblem:
                raise
            except BangerError as problem:
                self._faults[name] = problem

    def effective(self) -> list[Setting]:
        """Return every setting, its value and its origin, in the order of the file's sections."""
        found = []
        for name in type(self).model_fields:
            found += list(_settings(name, getattr(self, name)))
        for name, section in self._sections.items():
            found += list(_settings(f"plugins.{name}", section))
        return found


def load_settings(paths: Paths, registry: Registry) -> Settings:
    """Read ``paths.settings_file`` and fill in what it does not say.

    Sections of plugins are checked against the models that they declare; a model that cannot be
    used is its plugin's failure, raised when those settings are asked for. Raises UsageProblem
    (with file, key and value) for what is wrong in the file.
    """
    file = paths.settings_file
    config = read_config(file)
    tables = config.get("plugins", {})
    given: dict[str, Any] = {}
    if isinstance(tables, dict):
        given = {name: table for name, table in tables.items() if name != "disabled"}
        kept = {name: table for name, table in tables.items() if name == "disabled"}
        config = {**config, "plugins": kept}
    settings: Settings = _validated(Settings, config, file, "")
    settings._add_sections(given, registry, file)  # noqa: SLF001 - one class in two halves
    return settings


def _unknown_section(name: str, known: Iterable[str], file: Path) -> UsageProblem:
    problem = NotFound("plugin settings", name, known)
    return UsageProblem(
        f"{file}: there is no section [plugins.{name}]",
        cause=problem.cause,
        hints=[*problem.hints, "banger plugin list"],
    )


def _validated(model: object, data: object, file: Path, prefix: str) -> Any:
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        raise TypeError(f"{model!r} is no pydantic model")
    try:
        return model.model_validate(data)
    except ValidationError as problem:
        raise describe(problem, model, file, prefix) from None


def _settings(prefix: str, section: BaseModel) -> Iterator[Setting]:
    values = section.model_dump(mode="json")
    for key in type(section).model_fields:
        name = f"{prefix}.{key}"
        if key in section.model_fields_set:
            yield Setting(key=name, value=values[key], origin="config")
        else:
            computed = _COMPUTED.get(name)
            origin: Origin = computed().origin if computed else "constant"
            yield Setting(key=name, value=values[key], origin=origin)


_COMPUTED: dict[str, Callable[[], Default]] = {"vm.vcpu": default_vcpu, "vm.memory": default_memory}
