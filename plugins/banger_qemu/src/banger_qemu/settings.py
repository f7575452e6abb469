"""The section ``[plugins.qemu]`` of the configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class QemuSettings(BaseModel):
    """How QEMU is run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    binary: str = Field(default="", description="path of QEMU; empty: found on PATH")
    probe_deadline: float = Field(
        default=7.0, ge=1.0, le=8.0, description="seconds that the trial of KVM may take"
    )
