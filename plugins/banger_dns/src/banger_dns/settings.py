"""The section ``[plugins.dns]`` of the configuration."""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from banger_dns.names import DEFAULT_PORT

if TYPE_CHECKING:
    from banger_core.api import Context


def _address(text: str) -> str:
    address = ipaddress.ip_address(text)
    if address.is_unspecified or address.is_multicast:
        raise ValueError("name one address of this host")
    return str(address)


def _network(text: str) -> str:
    network = ipaddress.ip_network(text)
    step = 8 if network.version == 4 else 4
    if network.prefixlen == 0 or network.prefixlen % step:
        raise ValueError(f"the length of its prefix is no multiple of {step}, as zones end there")
    return str(network)


def _path(text: str) -> str:
    full = os.path.expanduser(text)  # noqa: PTH111
    if full and not os.path.isabs(full):  # noqa: PTH117
        raise ValueError("it must be absolute, or begin with ~/")
    return full


class DnsSettings(BaseModel):
    """``address`` and ``port``: where the responder listens; anything but a loopback address
    needs ``expose = true``. ``ttl``: seconds for which answers may be kept. ``subdomains``: whether
    ``ANYTHING.NAME.vm`` is the VM, too. ``reverse``: networks in which every address without a VM
    is said to have no name. ``responder = false`` switches the responder off.

    ``mapdns_data_file``: a file of mapdns in which names are kept. ``mapdns_bin``: the program, by
    path or by name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    responder: bool = True
    address: Annotated[str, AfterValidator(_address)] = "127.0.0.1"
    port: int = Field(default=DEFAULT_PORT, ge=1, le=65535)
    expose: bool = False
    ttl: int = Field(default=0, ge=0, le=3600)
    subdomains: bool = False
    reverse: tuple[Annotated[str, AfterValidator(_network)], ...] = ("127.0.0.0/8",)
    mapdns_bin: str = "mapdns"
    mapdns_data_file: Annotated[str, AfterValidator(_path)] = ""

    @model_validator(mode="after")
    def _stay_at_home(self) -> Self:
        if not self.expose and not ipaddress.ip_address(self.address).is_loopback:
            raise ValueError(
                f"{self.address} is no loopback address: others could ask for the names of "
                "VMs; if that is meant, set expose = true"
            )
        return self


def settings_of(cx: Context) -> DnsSettings:
    """Return the plugin's settings, with the defaults for what is not configured."""
    return DnsSettings.model_validate(dict(cx.settings))
