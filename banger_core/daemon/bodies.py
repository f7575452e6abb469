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
    """Pull an image. ``size`` is the virtual size of its disk in bytes."""

    ref: str = Field(min_length=1, max_length=4096)
    name: str = ""
    kernel: str = ""
    size: int | None = None


class PullKernel(Body):
    """Pull a kernel into the catalogue; ``force`` replaces another version."""

    name: str = Field(min_length=1, max_length=255)
    force: bool = False


class Nothing(Body):
    """An empty body."""
