"""``banger ssh``: a shell in a machine, and what belongs to it.

``banger ssh VM`` itself is ``reach.ssh``; the root of the command line tells the two apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from banger_core.cli.group import Group, Member, Noun, verb
from banger_core.cli.link import fetch, known_names, link
from banger_core.cli.options import AsJson
from banger_core.errors import UsageProblem
from banger_core.ui.console import say, tell
from banger_core.ui.jsonout import show_json
from banger_core.ui.tables import show_table


def _machines(incomplete: str) -> list[str]:
    return [name for name in known_names("vms") if name.startswith(incomplete)]


class SshGroup(Group):
    """The group, which can also be followed by a machine."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002  (typer's signature)
        """What may follow ``banger ssh``."""
        return ["VM [ARGS]…", "|", "COMMAND [ARGS]…"]

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """Complete commands and names of machines."""
        from typer._click.shell_completion import CompletionItem

        machines = [CompletionItem(name) for name in _machines(incomplete)]
        return [*super().shell_complete(ctx, incomplete), *machines]


class SshNoun(Noun):
    """The noun ``ssh``."""

    def group(self, name: str = "") -> Group:
        """Build the group that shows this noun."""
        return SshGroup(
            name or self.name,
            self.summary,
            self.members,
            epilog="A shell in a machine: banger ssh VM. All about it: banger vm ssh --help",
        )


ssh = SshNoun(
    "ssh",
    "Open a shell in a machine; its keys and policy, and plain ssh",
    {
        "explain": Member(
            "Show who decided what about SSH to a machine, and who lost",
            "banger_core.cli.ssh_explain:explain",
        ),
    },
)


@verb(ssh, "config")
def config(
    install: Annotated[
        bool, typer.Option("--install", help="Include it at the top of ~/.ssh/config.")
    ] = False,
    uninstall: Annotated[
        bool, typer.Option("--uninstall", help="Take away what --install added.")
    ] = False,
    file: Annotated[
        str,
        typer.Option(
            "--file",
            metavar="FILE",
            help="Edit FILE instead of ~/.ssh/config.",
            show_default=False,
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Make plain ssh, scp, sftp and rsync reach machines as NAME.vm.

    Without options, it shows the configuration that is included, and changes nothing.
    """
    if install and uninstall:
        raise UsageProblem(
            "--install and --uninstall exclude each other", hints=["banger ssh config --help"]
        )
    if not install and not uninstall:
        answer = fetch("ssh", "config")
        if as_json:
            show_json(answer)
        else:
            for line in answer["text"].splitlines():
                say(line)
        return
    _edit(file, install=install, as_json=as_json)


def _edit(file: str, *, install: bool, as_json: bool) -> None:
    from banger_core.client import sshconfig
    from banger_core.client.client import url
    from banger_core.jsonable import to_json

    path = Path(file).expanduser().absolute() if file else sshconfig.user_config()
    if install:
        answer = link().call("POST", url("ssh", "config"), {})
        sshconfig.check_readable(Path(answer["file"]))
        change = sshconfig.install(path, answer["include"])
    else:
        change = sshconfig.uninstall(path)
    if as_json:
        show_json(to_json(change))
    else:
        tell(_said(change.action, path, made=change.made))


def _said(action: str, path: Path, *, made: bool) -> str:
    whole = "the file, which was made for it, is gone" if made else "all else is as it was"
    return {
        "installed": f"{path} {'was made and ' if made else ''}includes banger's machines now: "
        "ssh NAME.vm",
        "replaced": f"{path} includes the machines of this state directory now, not another's",
        "unchanged": f"{path} includes banger's machines already",
        "removed": f"{path} does not include banger's machines any more; {whole}",
        "absent": f"{path} does not include banger's machines; nothing was to be done",
    }[action]


@verb(ssh, "known-hosts")
def known_hosts(as_json: AsJson = False) -> None:
    """List the host keys that are pinned."""
    pins = fetch("ssh", "known-hosts")["pins"]
    if as_json:
        show_json(pins)
        return
    if not pins:
        tell("no host key is pinned")
        return
    columns = ["name", "address", "type", "fingerprint", "whose"]
    marked = any(pin["marker"] for pin in pins)
    rows = [
        [
            _host(pin),
            pin["address"] or "-",
            pin["key_type"],
            pin["fingerprint"],
            _owner(pin),
            *([pin["marker"] or "-"] if marked else []),
        ]
        for pin in pins
    ]
    show_table([*columns, "marker"] if marked else columns, rows)


@verb(ssh, "forget")
def forget(
    name: Annotated[
        str,
        typer.Argument(
            metavar="VM|ADDRESS|HOST",
            help="A machine, an address, or a name as known-hosts lists it.",
            show_default=False,
            autocompletion=_machines,
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """Forget the host keys that are pinned for a machine or an address.

    Keys of a machine that runs are pinned again at once, as they are known from before it booted.
    """
    from banger_core.client.client import url

    answer = link().call("POST", url("ssh", "forget"), {"name": name})
    if as_json:
        show_json(answer)
        return
    for pin in answer["removed"]:
        say(f"forgot {_line(pin)}")
    for pin in answer["pinned"]:
        say(f"pinned {_line(pin)}")
    if answer["pinned"]:
        tell(f"{answer['vm']} runs: its key, known since before it booted, is pinned again")


def _line(pin: dict[str, Any]) -> str:
    names = ",".join(pin["names"])
    return f"{names} {pin['key_type']} {pin['fingerprint']}"


def _host(pin: dict[str, Any]) -> str:
    if pin["name"].startswith("|"):
        return "(hashed)"
    return pin["name"] or "-"


def _owner(pin: dict[str, Any]) -> str:
    owner = str(pin["vm"] or pin["vm_id"] or "-")
    return f"{owner} (stale)" if pin["stale"] else owner
