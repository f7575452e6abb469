"""What clients may send, checked by pydantic: unknown fields are refused."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from banger_core.model import VmRequest


class Body(BaseModel):
    """The base of all request bodies."""

    model_config = ConfigDict(extra="forbid")


class CreateVm(Body):
    """Create a VM, and start it when ``start`` is set; with ``dry_run`` only plan it."""

    request: VmRequest = Field(default_factory=VmRequest)
    start: bool = False
    dry_run: bool = False


class StopVm(Body):
    """Stop a VM; ``force`` skips the clean shutdown."""

    force: bool = False
    wait: bool = True


class PullImage(Body):
    """Pull an image. ``name`` is what to call it here, ``size`` the virtual size of its disk in
    bytes, ``platform`` (``linux/amd64``) which one of several it is.
    """

    ref: str = Field(min_length=1, max_length=4096)
    name: str | None = None
    kernel: str = ""
    size: int | None = None
    platform: str = Field(default="", max_length=100)


class PruneCache(Body):
    """Prune what image sources keep, down to ``keep`` bytes for each; ``dry_run`` only lists."""

    keep: int = Field(default=0, ge=0)
    dry_run: bool = False


class PullKernel(Body):
    """Pull a kernel into the catalogue; ``force`` replaces another version."""

    name: str = Field(min_length=1, max_length=255)
    force: bool = False


class Nothing(Body):
    """An empty body."""
