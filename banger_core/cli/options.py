"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from banger_core.cli.completers import (
    declared,
    image_references,
    kernels,
    labels,
    names_of,
    one_of,
)

AsJson = Annotated[bool, typer.Option("--json", help="Write JSON to stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")]
VmRef = Annotated[
    str,
    typer.Argument(
        metavar="VM",
        help="Name, id or unique start of an id.",
        show_default=False,
        autocompletion=names_of("vms"),
    ),
]
VmRefs = Annotated[
    list[str],
    typer.Argument(
        metavar="VM…",
        help="Names, ids or unique starts of ids.",
        show_default=False,
        autocompletion=names_of("vms"),
    ),
]
ImageName = Annotated[
    str,
    typer.Argument(metavar="IMAGE", show_default=False, autocompletion=names_of("images")),
]
ImageNames = Annotated[
    list[str],
    typer.Argument(metavar="IMAGE…", show_default=False, autocompletion=names_of("images")),
]
KernelName = Annotated[
    str,
    typer.Argument(metavar="KERNEL", show_default=False, autocompletion=names_of("kernels")),
]
KernelNames = Annotated[
    list[str],
    typer.Argument(metavar="KERNEL…", show_default=False, autocompletion=names_of("kernels")),
]
Terminal = Annotated[
    bool | None,
    typer.Option(
        "--tty/--no-tty",
        "-t/-T",
        help="Give the command a terminal, or none. Default: when all three of "
        "stdin, stdout and stderr are one.",
        show_default=False,
    ),
]
User = Annotated[
    str,
    typer.Option(
        "--user",
        "-u",
        metavar="USER[:GROUP]",
        help="Who runs it in the machine. Default: whom the image names, else root.",
        show_default=False,
    ),
]
Entrypoint = Annotated[
    bool,
    typer.Option(
        "--entrypoint",
        help="Run the image's own program; what stands after -- are its arguments.",
    ),
]

Image = Annotated[
    str,
    typer.Argument(
        metavar="[IMAGE]",
        help="SCHEME://REF or the name of an image that is here. Default: from the configuration.",
        show_default=False,
        autocompletion=image_references,
    ),
]
Name = Annotated[
    str | None, typer.Option("--name", metavar="NAME", help="Default: made up.", show_default=False)
]
Vcpu = Annotated[
    int | None, typer.Option("--vcpu", metavar="N", help="Virtual CPUs.", show_default=False)
]
Memory = Annotated[
    str, typer.Option("--memory", metavar="SIZE", help="For example 512M.", show_default=False)
]
DiskSize = Annotated[
    str,
    typer.Option("--disk-size", metavar="SIZE", help="For example 8G.", show_default=False),
]
WorkDisk = Annotated[
    str,
    typer.Option(
        "--work-disk",
        metavar="SIZE",
        help="A disk of its own for /root, or none. Default: from the configuration, else none.",
        show_default=False,
        autocompletion=one_of("none"),
    ),
]
Network = Annotated[
    str,
    typer.Option(
        "--network",
        metavar="NAME",
        help="How it is connected.",
        show_default=False,
        autocompletion=declared("banger_networks"),
    ),
]
Published = Annotated[
    list[str],
    typer.Option(
        "--publish",
        "-p",
        metavar="[HOST:]GUEST[/udp]",
        help="Publish a port of the machine at its own address. May be repeated.",
    ),
]
Nat = Annotated[
    bool | None,
    typer.Option(
        "--nat/--no-nat",
        help="A way out by way of the host's addresses, or none. Default: as the network has it.",
        show_default=False,
    ),
]
Links = Annotated[
    list[str],
    typer.Option(
        "--link",
        metavar="VM",
        help="Let it and that machine reach each other. May be repeated.",
        autocompletion=names_of("vms"),
    ),
]
HostAccess = Annotated[
    bool, typer.Option("--host-access", help="Let it reach services of this host.")
]
Driver = Annotated[
    str,
    typer.Option(
        "--driver",
        metavar="NAME",
        help="What runs it.",
        show_default=False,
        autocompletion=declared("banger_vmm_drivers"),
    ),
]
Acceleration = Annotated[
    Literal["auto", "kvm", "tcg"], typer.Option("--accel", help="Hardware or emulation.")
]
Cold = Annotated[
    bool,
    typer.Option("--cold", help="Boot from the beginning, and not as a machine that was saved."),
]
KernelRef = Annotated[
    str,
    typer.Option(
        "--kernel-ref",
        metavar="NAME",
        help="Another kernel than the image's.",
        show_default=False,
        autocompletion=kernels,
    ),
]
NamedKernel = Annotated[
    str,
    typer.Option(
        "--kernel-ref",
        metavar="NAME",
        help="Its kernel, by name.",
        show_default=False,
        autocompletion=names_of("kernels"),
    ),
]
Labels = Annotated[
    list[str],
    typer.Option("--label", metavar="KEY=VALUE", help="May be repeated.", autocompletion=labels),
]
