"""The hooks: no arguments, no first result, no wrappers; each yields frozen declarations.

Every docstring has an example that runs (a test does) and says when the hook is not called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from collections.abc import Iterable

    from banger_core import declare

PROJECT = "banger"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Hooks:
    """The specifications, in the order of the documentation."""

    @hookspec
    def banger_image_sources(self) -> Iterable[declare.ImageSource]:
        """Yield the image sources."""
        return ()

    @hookspec
    def banger_kernel_providers(self) -> Iterable[declare.KernelProvider]:
        """Yield the kernel providers."""
        return ()

    @hookspec
    def banger_guest_runtimes(self) -> Iterable[declare.GuestRuntime]:
        """Yield the guest runtimes."""
        return ()

    @hookspec
    def banger_networks(self) -> Iterable[declare.Network]:
        """Yield the networks."""
        return ()

    @hookspec
    def banger_vmm_drivers(self) -> Iterable[declare.VmmDriver]:
        """Yield the VM drivers."""
        return ()

    @hookspec
    def banger_network_attachments(self) -> Iterable[declare.NetworkAttachment]:
        """Yield the network attachments."""
        return ()

    @hookspec
    def banger_ssh_policies(self) -> Iterable[declare.SshPolicy]:
        """Yield the SSH policy layers."""
        return ()

    @hookspec
    def banger_doctor_checks(self) -> Iterable[declare.DoctorCheck]:
        """Yield the doctor checks."""
        return ()

    @hookspec
    def banger_settings(self) -> Iterable[declare.Settings]:
        """Yield the settings sections."""
        return ()
