"""Images made of what is here: ``banger image register``, ``promote``, ``build``."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from banger_core.cli import values
from banger_core.cli.completers import names_of
from banger_core.cli.link import operate
from banger_core.cli.options import (
    AsJson,
    DiskSize,
    ImageName,
    Memory,
    NamedKernel,
    Quiet,
    Vcpu,
)
from banger_core.cli.references import absolute_path, with_absolute_path
from banger_core.errors import UsageProblem
from banger_core.ui.console import say
from banger_core.ui.jsonout import show_json

NewName = Annotated[
    str, typer.Option("--name", metavar="NAME", help="What to call it here.", show_default=False)
]


def _path(option: str, kind: str, text: str) -> Any:
    return typer.Option(option, metavar=kind, help=text, show_default=False)


def register(
    name: NewName,
    rootfs: Annotated[str, _path("--rootfs", "FILE", "Its root file system: ext4, not packed.")],
    kernel: Annotated[str, _path("--kernel", "FILE", "Its kernel: vmlinux or bzImage.")] = "",
    initrd: Annotated[str, _path("--initrd", "FILE", "With --kernel: kept beside it.")] = "",
    modules: Annotated[str, _path("--modules", "DIR", "With --kernel: its modules.")] = "",
    kernel_ref: NamedKernel = "",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make an image of files on this host, where they lie: they are only read.

    Its kernel is a file (--kernel) or one by name (--kernel-ref), of which the image keeps a copy.
    """
    if bool(kernel) == bool(kernel_ref):
        raise UsageProblem(
            "an image has one kernel",
            cause="exactly one of --kernel and --kernel-ref is needed",
            hints=["banger kernel list", "--kernel-ref NAME"],
        )
    if not kernel and (initrd or modules):
        raise UsageProblem(
            "--initrd and --modules go with --kernel",
            cause="a kernel by name brings its own",
            hints=["leave them away", "--kernel FILE --modules DIR"],
        )
    paths = {"rootfs": rootfs, "kernel": kernel, "initrd": initrd, "modules": modules}
    body = {
        "name": name,
        "kernel_ref": kernel_ref,
        **{part: absolute_path(path) for part, path in paths.items() if path},
    }
    finish(operate("POST", "images", "register", body=body, quiet=quiet or as_json), as_json)


def promote(name: ImageName, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Copy the files of a registered image in: it depends on nothing outside any more."""
    place = ("images", with_absolute_path(name), "promote")
    finish(operate("POST", *place, body={}, quiet=quiet or as_json), as_json)


def _sets(incomplete: str) -> list[str]:
    from pathlib import Path

    places = Path(__file__).parents[1].glob("guest/packages/*.toml")
    return sorted(place.stem for place in places if place.stem.startswith(incomplete))


def build(
    name: NewName,
    base: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="IMAGE",
            help="An image that is here.",
            show_default=False,
            autocompletion=names_of("images"),
        ),
    ],
    script: Annotated[
        str, _path("--script", "FILE", "Run by root in the machine: by its #! line, else by sh.")
    ] = "",
    packages: Annotated[
        str,
        typer.Option(
            "--packages",
            metavar="FILE|SET",
            help="Install these: a file (with a / or . in its name), or a set of banger's: dev, "
            "net, python, server.",
            show_default=False,
            autocompletion=_sets,
        ),
    ] = "",
    vcpu: Vcpu = None,
    memory: Memory = "",
    disk_size: DiskSize = "",
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make an image in a machine of another one: with a script, or by installing packages.

    The machine is gone afterwards. What tells machines apart (host keys, machine-id) is removed.
    """
    if bool(script) == bool(packages):
        raise UsageProblem(
            "a build is one thing",
            cause="exactly one of --script and --packages is needed",
            hints=["--script FILE", "--packages dev"],
        )
    body: dict[str, Any] = {
        "base": with_absolute_path(base),
        "name": name,
        "vcpu": vcpu,
        "memory": values.size("--memory", memory) if memory else None,
        "disk_size": values.size("--disk-size", disk_size) if disk_size else None,
    }
    if script:
        body["script"] = absolute_path(script)
    elif "/" in packages or "." in packages:
        body["packages"] = absolute_path(packages)
    else:
        body["package_set"] = packages
    finish(operate("POST", "images", "build", body=body, quiet=quiet or as_json), as_json)


def finish(result: dict[str, Any], as_json: bool) -> None:
    """Say which image came of it."""
    if as_json:
        show_json(result["image"])
    else:
        say(result["image"]["name"])
