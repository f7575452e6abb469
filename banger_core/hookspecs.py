"""The hooks: no arguments, no first result, no wrappers; each yields frozen declarations.

A hook is called when the plugin index is built: after a distribution was installed, changed or
removed, and never in between. It is not called at all for a plugin that is disabled, or that was
written for another ``BANGER_API``. Every docstring has an example that runs (a test does) and
says what else does not happen.
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
        """Yield the image sources: what turns ``SCHEME://…`` into a root file system.

        Example::

            from banger_core.api import ImageSource, hookimpl

            BANGER_API = 1

            @hookimpl
            def banger_image_sources():
                yield ImageSource(
                    name="nix",
                    summary="Root file systems from the Nix store",
                    load="banger_nix.source:NixSource",
                    schemes=("nix",),
                    requires=("bin:nix-store",),
                )

        When it is not called: to ask whose a reference is. The scheme decides, and a reference
        without one goes to ``image.default_source``. The class behind ``load`` is imported when
        one of its images is first wanted, not for an image that is here.
        """
        return ()

    @hookspec
    def banger_kernel_providers(self) -> Iterable[declare.KernelProvider]:
        """Yield the kernel providers: where kernels come from by name, or are kept.

        Example::

            from banger_core.api import KernelProvider, hookimpl

            BANGER_API = 1

            @hookimpl
            def banger_kernel_providers():
                yield KernelProvider(
                    name="alpine",
                    summary="Kernels of Alpine Linux",
                    load="banger_alpine.kernels:AlpineKernels",
                )

        When it is not called: to start a VM. An image owns its kernel, so a provider is loaded
        only when kernels are listed or pulled, and when an image is made.
        """
        return ()

    @hookspec
    def banger_guest_runtimes(self) -> Iterable[declare.GuestRuntime]:
        """Yield the guest runtimes: the programs that banger brings into every guest.

        Example::

            from banger_core.api import GuestRuntime, hookimpl

            BANGER_API = 1

            @hookimpl
            def banger_guest_runtimes():
                yield GuestRuntime(
                    name="alpine",
                    summary="Static programs of Alpine Linux",
                    load="banger_alpine.runtime:AlpineRuntime",
                )

        When it is not called: to choose one. ``guest.runtime`` of the configuration does, and the
        others are never loaded.
        """
        return ()

    @hookspec
    def banger_networks(self) -> Iterable[declare.Network]:
        """Yield the networks: how a VM is connected to its host and beyond.

        Example::

            from banger_core.api import Network, hookimpl

            BANGER_API = 1

            @hookimpl
            def banger_networks():
                yield Network(
                    name="vlan",
                    summary="A VLAN of the laboratory",
                    load="acme_banger.vlan:VlanNetwork",
                    requires=("bin:ip", "dev:/dev/net/tun"),
                )

        When it is not called: for a VM that runs, or whose plan is made. A plan names its network
        for good, and the class behind ``load`` plans, connects and disconnects.
        """
        return ()

    @hookspec
    def banger_vmm_drivers(self) -> Iterable[declare.VmmDriver]:
        """Yield the VM drivers: each runs VMs with one virtual machine monitor.

        Example::

            from banger_core.api import VmmDriver, hookimpl

            BANGER_API = 1

            @hookimpl
            def banger_vmm_drivers():
                yield VmmDriver(
                    name="cloud-hypervisor",
                    summary="Cloud Hypervisor, with KVM",
                    load="banger_chv.driver:Driver",
                    requires=("bin:cloud-hypervisor", "dev:/dev/kvm"),
                    disk_formats=("raw",),
                    networks=("tap",),
                    features=("pause", "snapshot"),
                )

        When it is not called: to find the best driver. ``vm.driver`` of the configuration, or the
        request, names it.
        """
        return ()

    @hookspec
    def banger_network_attachments(self) -> Iterable[declare.NetworkAttachment]:
        """Yield the network attachments: what happens when a VM joins or leaves its network.

        Example::

            from banger_core.api import NetworkAttachment, hookimpl

            BANGER_API = 1

            @hookimpl
            def banger_network_attachments():
                yield NetworkAttachment(
                    name="inventory",
                    summary="Enters each VM into the inventory",
                    load="acme_banger.inventory:Inventory",
                    after=("dns",),
                )

        When it is not called: for each VM. All attachments apply to every VM, those named in
        ``after`` first; a name there that is not installed is ignored.
        """
        return ()

    @hookspec
    def banger_ssh_policies(self) -> Iterable[declare.SshPolicy]:
        """Yield the SSH policy layers: each sets options of every SSH connection, or locks them.

        ``load`` names a function from ``SshFacts`` to ``SshPatch``, not a class.

        Example::

            from banger_core.api import SshPolicy, hookimpl

            BANGER_API = 1

            @hookimpl
            def banger_ssh_policies():
                yield SshPolicy(
                    name="acme",
                    summary="No agent forwarding at ACME",
                    load="acme_banger.ssh:policy",
                    precedence=400,
                )

        When it is not called: by ``banger ssh NAME``. That reads the note that was written when
        the VM became ready. A ``precedence`` over 499 has no effect.
        """
        return ()

    @hookspec
    def banger_event_sinks(self) -> Iterable[declare.EventSink]:
        """Yield the event sinks: each is told what happens, and cannot change it.

        Example::

            from banger_core.api import EventSink, hookimpl

            BANGER_API = 1

            @hookimpl
            def banger_event_sinks():
                yield EventSink(
                    name="chat",
                    summary="Tells the team's chat which machines come and go",
                    load="acme_banger.chat:Chat",
                    kinds=("vm.*",),
                )

        When it is not called: for each event. The class behind ``load`` is imported when the daemon
        starts, and gets the events of the kinds that it asked for.
        """
        return ()

    @hookspec
    def banger_doctor_checks(self) -> Iterable[declare.DoctorCheck]:
        """Yield the doctor checks: each looks at one aspect of the host.

        Example::

            from banger_core.api import DoctorCheck, hookimpl

            BANGER_API = 1

            @hookimpl
            def banger_doctor_checks():
                yield DoctorCheck(
                    name="clock",
                    summary="The clock is synchronised",
                    load="acme_banger.clock:ClockCheck",
                )

        When it is not called: before other commands. They check what they need themselves (and
        what ``requires`` lists); the doctor runs when it is asked.
        """
        return ()

    @hookspec
    def banger_commands(self) -> Iterable[declare.Command]:
        """Yield the commands: what can follow ``banger`` on the command line.

        ``load`` names a ``Noun``, a ``typer.Typer`` or a function. It runs in the process of the
        command line, whose start is short: import what takes long inside the functions. ``ask``
        of the API puts a question to a service in the daemon, ``fetch`` asks the daemon itself.

        Example::

            from banger_core.api import Command, hookimpl

            BANGER_API = 1

            @hookimpl
            def banger_commands():
                yield Command(
                    name="inventory",
                    summary="The inventory of machines",
                    load="acme_banger.commands:inventory",
                )

        When it is not called: to show help, which needs the summary alone. The module behind
        ``load`` is imported when the command's name is typed, and never in the daemon.
        """
        return ()

    @hookspec
    def banger_services(self) -> Iterable[declare.Service]:
        """Yield the services: each is tended for as long as the daemon runs, and can be asked.

        Example::

            from banger_core.api import Service, hookimpl

            BANGER_API = 1

            @hookimpl
            def banger_services():
                yield Service(
                    name="inventory",
                    summary="Keeps the inventory up to date",
                    load="acme_banger.service:InventoryService",
                )

        When it is not called: for a VM that comes or goes (that is ``banger_network_attachments``).
        A service that fails is reported in the daemon's log and tended again later; VMs go on.
        """
        return ()

    @hookspec
    def banger_settings(self) -> Iterable[declare.Settings]:
        """Yield the settings: each a section ``[plugins.NAME]``, checked by a pydantic model.

        Example::

            from banger_core.api import Settings, hookimpl

            BANGER_API = 1

            @hookimpl
            def banger_settings():
                yield Settings(
                    name="nix",
                    summary="Where the Nix store is",
                    load="banger_nix.settings:NixSettings",
                )

        When it is not called: when settings are read. The model behind ``load`` is imported by
        the daemon alone, once, when it starts.
        """
        return ()
