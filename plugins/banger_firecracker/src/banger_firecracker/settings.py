"""The section ``[plugins.firecracker]`` of the configuration."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class JailSettings(BaseModel):
    """``[plugins.firecracker.jail]``: Firecracker's jailer, which needs a daemon that is root."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    jailer_bin: str = Field(default="jailer", description="path or name of the jailer")
    uid: int = Field(ge=1, le=2**31, description="user that Firecracker becomes; not root")
    gid: int = Field(ge=1, le=2**31, description="group that Firecracker becomes; not root's")
    cgroup_version: Literal[1, 2] = Field(default=2, description="hierarchy of control groups")
    cgroups: tuple[str, ...] = Field(
        default=(), description="FILE=VALUE of the VM's control group, as memory.max=1G"
    )
    parent_cgroup: str = Field(default="", description="control group that holds the VMs' groups")
    netns: str = Field(default="", description="path of a network namespace to join")


class FirecrackerSettings(BaseModel):
    """How Firecracker is run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    firecracker_bin: str = Field(default="", description="path of Firecracker; empty: on PATH")
    slirp_bin: str = Field(default="", description="path of slirp4netns; empty: on PATH")
    allow_unsafe_version: bool = Field(
        default=False, description="run a Firecracker with known holes, saying so each time"
    )
    probe_deadline: float = Field(
        default=7.0, ge=1.0, le=8.0, description="seconds that the trial of KVM may take"
    )
    jail: JailSettings | None = Field(default=None, description="run Firecracker in its jailer")
