"""The section ``[plugins.bridge]`` of the configuration."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Network

from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator

from banger_bridge.helper.checks import SUBNET4, SUBNET6, Refused, check_subnet


class BridgeSettings(BaseModel):
    """The bridge and its subnets."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bridge: str = Field(
        default="banger0",
        pattern=r"^[a-z][a-z0-9_-]{0,14}$",
        description="name of the bridge on this host; another banger's has another",
    )
    subnet: IPv4Network = Field(
        default=IPv4Network(SUBNET4), description="where the VMs' IPv4 addresses come from"
    )
    subnet6: IPv6Network | None = Field(
        default=IPv6Network(SUBNET6),
        description="where the VMs' IPv6 addresses come from; empty: none",
    )
    nat: bool = Field(default=False, description="a way out for VMs that do not say")
    nameserver: IPv4Address | None = Field(
        default=None,
        description="whom VMs with a way out ask for names; empty: whom this host asks",
    )
    command: tuple[str, ...] = Field(
        default=(),
        description="how the helper is run, with all its words; empty: directly, else by sudo",
    )

    @field_validator("subnet6", "nameserver", mode="before")
    @classmethod
    def _empty(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("subnet", "subnet6")
    @classmethod
    def _usable(cls, value: IPv4Network | IPv6Network | None) -> IPv4Network | IPv6Network | None:
        if value is not None:
            try:
                check_subnet(value)
            except Refused as problem:
                raise ValueError(problem.summary) from problem
        return value

    @field_serializer("subnet", "subnet6", "nameserver")
    def _text(self, value: object) -> str:
        return "" if value is None else str(value)
