"""What ``banger vm run --foreground`` is told: one machine, as JSON or TOML."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from banger_core.config.problems import describe
from banger_core.config.settings import Size
from banger_core.errors import UsageProblem
from banger_core.model import Accel, Publish, VmRequest

SPEC_MAX = 1 << 20
"""Bytes that a specification may have."""


def _port(word: str) -> str:
    try:
        Publish.parse(word)
    except UsageProblem as problem:
        raise ValueError(problem.summary) from None
    return word


def _as_text(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


Port = Annotated[str, BeforeValidator(_as_text), AfterValidator(_port)]
"""``[HOST:]GUEST[/udp]``; a number stands for itself."""

_ACCOUNT = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}"

User = Annotated[str, Field(pattern=rf"^({_ACCOUNT}(:{_ACCOUNT})?)?$")]
"""``USER[:GROUP]``, names or numbers; empty: as the image wants."""


class Spec(BaseModel):
    """One machine and what it is for. Everything has the default of ``banger vm run``.

    ``command`` is run, and its status is the run's; without one (and without ``entrypoint``) the
    machine runs until it shuts itself down or is told to stop. ``console`` adds what the serial
    console says to the events. Sizes are bytes, or text like ``2G``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    image: str = Field(default="", max_length=4096)
    name: str | None = None
    vcpu: int | None = Field(default=None, ge=1)
    memory: Size | None = None
    disk_size: Size | None = None
    network: str = ""
    publish: list[Port] = []
    nat: bool | None = None
    host_access: bool = False
    driver: str = ""
    kernel: str = ""
    accel: Accel = "auto"
    cold: bool = False
    labels: dict[str, str] = {}
    command: list[str] = []
    entrypoint: bool = False
    user: User = ""
    console: bool = False

    def request(self) -> VmRequest:
        """What the engine is asked for."""
        return VmRequest(
            image=self.image,
            entrypoint=self.entrypoint,
            name=self.name,
            vcpu=self.vcpu,
            memory=self.memory,
            disk_size=self.disk_size,
            network=self.network,
            publish=tuple(map(Publish.parse, self.publish)),
            nat=self.nat,
            host_access=self.host_access,
            driver=self.driver,
            kernel=self.kernel,
            accel=self.accel,
            cold=self.cold,
            labels=self.labels,
        )


def read_spec(place: str) -> Spec:
    """Read the specification in the file ``place`` (``-``: stdin), TOML or JSON by what it holds.

    Raises UsageProblem naming every key that is wrong.
    """
    text = _read(place)
    try:
        return Spec.model_validate(_parse(text, place))
    except ValidationError as problem:
        raise describe(problem, Spec, Path(place), "") from None


def _read(place: str) -> str:
    try:
        if place == "-":
            data = sys.stdin.buffer.read(SPEC_MAX + 1)
        else:
            with Path(place).open("rb") as file:
                data = file.read(SPEC_MAX + 1)
        text = data.decode()
    except (OSError, ValueError) as problem:
        cause = (isinstance(problem, OSError) and problem.strerror) or str(problem)
        raise UsageProblem(
            f"the specification {place} cannot be read",
            cause=cause,
            hints=["banger vm run --foreground --spec FILE, or - for stdin"],
        ) from None
    if len(data) > SPEC_MAX:
        raise UsageProblem(
            f"the specification {place} is too long",
            cause=f"it has more than {SPEC_MAX} bytes",
            hints=["docs/howto/foreground.md has an example"],
        )
    return text


def _parse(text: str, place: str) -> Mapping[str, Any]:
    kind = "JSON" if text.lstrip().startswith("{") else "TOML"
    try:
        found: Mapping[str, Any] = json.loads(text) if kind == "JSON" else tomllib.loads(text)
    except (ValueError, RecursionError) as problem:
        raise UsageProblem(
            f"the specification {place} is no {kind}",
            cause=str(problem) or "it is nested too deeply",
            hints=["docs/howto/foreground.md has an example of each"],
        ) from None
    return found
