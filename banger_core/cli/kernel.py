"""``banger kernel``: the kernels that machines boot."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from banger_core.cli.group import Noun, verb
from banger_core.cli.link import fetch, operate
from banger_core.cli.options import AsJson, KernelName, KernelNames, Quiet
from banger_core.errors import UsageProblem
from banger_core.ui.console import say
from banger_core.ui.human import plain
from banger_core.ui.jsonout import show_json
from banger_core.ui.tables import show_details, show_table

kernel = Noun("kernel", "Kernels on this host and on offer")


def _path(option: str, kind: str, text: str) -> Any:
    return typer.Option(option, metavar=kind, help=text, show_default=False)


def _installed(incomplete: str) -> list[str]:
    from pathlib import Path

    names = [path.name.partition("-")[2] for path in Path("/boot").glob("vmlinuz-*")]
    return sorted(name for name in names if name.startswith(incomplete))


def _offered(incomplete: str) -> list[str]:
    from banger_core.cli.link import offered_kernels

    return [name for name in offered_kernels() if name.startswith(incomplete)]


Offered = Annotated[
    str, typer.Argument(metavar="KERNEL", show_default=False, autocompletion=_offered)
]


@verb(kernel, "list", aliases=("ls",))
def list_kernels(
    available: Annotated[
        bool, typer.Option("--available", help="Those that can be pulled.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List kernels: those that are here, or those on offer."""
    kernels = fetch("kernels", available=available)["kernels"]
    if as_json:
        show_json(kernels)
        return
    facts = ["name", "version", "distro", "architecture"]
    if available:
        facts.append("provider")
    if not available or any(row["problem"] for row in kernels):
        facts.append("problem")
    show_table(
        ["arch" if fact == "architecture" else fact for fact in facts],
        [[row.get(fact) or "-" for fact in facts] for row in kernels],
    )


@verb(kernel, "show")
def show(
    name: KernelName,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare its files with their checksums.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Show everything about a kernel that is here.

    With --verify, the exit status is 1 when something is wrong with it.
    """
    row = fetch("kernels", name, verify=verify)
    if as_json:
        show_json(row)
    else:
        show_details(_described(row))
    return int(bool(row.get("problems")))


@verb(kernel, "import")
def take(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What to call it here.", show_default=False)
    ],
    directory: Annotated[
        str,
        _path("--from", "DIR", "A directory with the image, and perhaps initrd.img and modules/."),
    ] = "",
    image: Annotated[str, _path("--kernel", "FILE", "An image: vmlinux or bzImage.")] = "",
    boot: Annotated[
        str,
        typer.Option(
            "--boot",
            metavar="VERSION",
            help="The one that this host has in /boot.",
            show_default=False,
            autocompletion=_installed,
        ),
    ] = "",
    packages: Annotated[
        list[str],
        _path("--deb", "FILE", "A package of Debian or Ubuntu. May be repeated."),
    ] = [],  # noqa: B006 - typer makes a new one for every call
    initrd: Annotated[str, _path("--initrd", "FILE", "With --kernel: kept beside it.")] = "",
    modules: Annotated[str, _path("--modules", "DIR", "With --kernel: its modules.")] = "",
    config: Annotated[
        str, _path("--config", "FILE", "With --kernel: what it was built with.")
    ] = "",
    force: Annotated[
        bool,
        typer.Option("--force", help="Replace one of this name, and take what cannot start."),
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Make files on this host a kernel: one of --from, --kernel, --boot and --deb.

    What a bzImage packs is unpacked. What guests will miss in the kernel is said.
    """
    from banger_core.cli.references import absolute_path

    if sum(map(bool, (directory, image, boot, packages))) != 1:
        raise UsageProblem(
            "a kernel is imported from one place",
            cause="exactly one of --from, --kernel, --boot and --deb is needed",
            hints=[f"banger kernel import {name} --kernel vmlinuz --modules DIR"],
        )
    if not image and (initrd or modules or config):
        raise UsageProblem(
            "--initrd, --modules and --config go with --kernel",
            cause="in every other place they are found by their names",
            hints=[f"banger kernel import {name} --kernel FILE --modules DIR"],
        )
    paths = {
        "directory": directory,
        "kernel": image,
        "initrd": initrd,
        "modules": modules,
        "config": config,
    }
    body = {
        "name": name,
        "boot": boot,
        "packages": [absolute_path(path) for path in packages],
        "force": force,
        **{key: absolute_path(path) for key, path in paths.items() if path},
    }
    result = operate("POST", "kernels", "import", body=body, quiet=quiet or as_json)
    if as_json:
        show_json(result["kernel"])
    else:
        say(result["kernel"]["name"])


@verb(kernel, "pull")
def pull(
    name: Offered,
    force: Annotated[bool, typer.Option("--force", help="Replace one of this name.")] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Fetch a kernel and check it."""
    body = {"name": name, "force": force}
    result = operate("POST", "kernels", "pull", body=body, quiet=quiet or as_json)
    if as_json:
        show_json(result["kernel"])
    else:
        say(result["kernel"]["name"])


@verb(kernel, "rm", aliases=("delete",))
def remove(names: KernelNames, quiet: Quiet = False) -> int:
    """Remove kernels; images keep their own copies."""
    from banger_core.cli.several import each
    from banger_core.client.client import url
    from banger_core.client.operations import Operation

    return each(
        names,
        lambda client, name: Operation(client, "DELETE", url("kernels", name)),
        quiet=quiet,
    )


def _described(row: dict[str, Any]) -> dict[str, str | list[str]]:
    """A kernel as lines for people: what it says of itself after what the catalogue says."""
    facts, problems = row.get("facts") or {}, row.get("problems")
    shown: dict[str, str | list[str]] = {
        key: plain(value) for key, value in row.items() if key not in ("facts", "problems")
    }
    if facts:
        shown["features"] = [f"{name}: {state}" for name, state in facts["features"].items()]
        shown["known from"] = facts["evidence"]
        shown["guests miss"] = list(facts["misses"])
    if problems is not None:
        shown["verified"] = problems or "ok"
    return shown
