"""A plugin of fakes: all that a VM needs, without a network, a VMM or root.

``CONFIG`` is a ``config.toml`` that chooses them. The "VM" is a small process that greets like an
SSH server (and hangs up when it is answered), says on its console that it is ready, and ends when
asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger_core.api import (
    GuestRuntime,
    ImageSource,
    KernelProvider,
    VmmDriver,
    hookimpl,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

BANGER_API = 1

CONFIG = """\
[image]
default = "fake://small"
default_source = "fake"
size = "64M"

[vm]
driver = "fake"
memory = "512M"
vcpu = 1
stop_grace = 60

[kernel]
default = "fake-kernel"
provider = "fake"
catalogue = "fake-catalogue"

[guest]
runtime = "fake"
"""


@hookimpl
def banger_image_sources() -> Iterable[ImageSource]:
    """Declare ``fake://`` and, for references that are paths, ``fake-file://``."""
    yield ImageSource(
        name="fake",
        summary="Small trees made of nothing",
        load="banger_core.testing.fakes.images:FakeSource",
        schemes=("fake", "fake-file"),
        path_schemes=("fake-file",),
    )


@hookimpl
def banger_kernel_providers() -> Iterable[KernelProvider]:
    """Declare one provider that makes kernels and one that keeps them."""
    yield KernelProvider(
        name="fake",
        summary="Kernels that cannot boot",
        load="banger_core.testing.fakes.kernels:FakeKernels",
    )
    yield KernelProvider(
        name="fake-catalogue",
        summary="Keeps kernels that cannot boot",
        load="banger_core.testing.fakes.kernels:FakeCatalogue",
        catalogue=True,
    )


@hookimpl
def banger_guest_runtimes() -> Iterable[GuestRuntime]:
    """Declare programs that cannot run."""
    yield GuestRuntime(
        name="fake",
        summary="Programs that cannot run",
        load="banger_core.testing.fakes.guest:FakeRuntime",
    )


@hookimpl
def banger_vmm_drivers() -> Iterable[VmmDriver]:
    """Declare the drivers of the small process."""
    yield VmmDriver(
        name="fake",
        summary="A process that greets like an SSH server",
        load="banger_core.testing.fakes.driver:FakeDriver",
        disk_formats=("raw",),
        networks=("user",),
        features=("pause", "snapshot", "fork"),
    )
    yield VmmDriver(
        name="fake-warm",
        summary="The same, and its machines can begin as one that was saved",
        load="banger_core.testing.fakes.warm:FakeWarmDriver",
        disk_formats=("raw",),
        networks=("user",),
        features=("pause",),
    )
