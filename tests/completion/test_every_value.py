"""Every value on the command line: either something completes it, or nobody could know it."""

from __future__ import annotations

import pytest

from banger_core.cli.app import command
from banger_core.cli.complete import complete

NEW = "a name that is given to something new"
FREE = "what only the person knows"
INSIDE = "lies in a machine, and that is not asked"
FILES = "a file here, which the shell completes"

UNKNOWN = {
    "--name": NEW,
    "--vcpu": FREE,
    "--memory": FREE,
    "--disk-size": FREE,
    "--size": FREE,
    "--keep": FREE,
    "--publish": FREE,
    "[HOST:]GUEST[/udp]": FREE,
    "--tail": FREE,
    "--grace": FREE,
    "--interval": FREE,
    "--count": FREE,
    "--sha256": FREE,
    "--address": FREE,
    "--port": FREE,
    "--reload": FREE,
    "[ARGS]…": FREE,
    "[--] COMMAND…": FREE,
    "[TEXT]": FREE,
    "PACKAGE…": FREE,
    "--user": INSIDE,
    "--workdir": INSIDE,
    "--dir": INSIDE,
    "--to": INSIDE,
    "--base-commit": FREE,
    "--branch": FREE,
    "--from COMMIT": FREE,
    "--from DIR": FILES,
    "--workspace": FILES,
    "--spec": FILES,
    "--output": FILES,
    "--rootfs": FILES,
    "--kernel": FILES,
    "--initrd": FILES,
    "--modules": FILES,
    "--script": FILES,
    "--deb": FILES,
    "--config": FILES,
    "--file": FILES,
    "--directory": FILES,
    "PATH": FILES,
    "FILE": FILES,
    "FILE|URL": FILES,
    "vm set --work-disk": FREE,
    "vm session start NAME": NEW,
    "vm snapshot create NAME": NEW,
    "kernel import NAME": NEW,
    "plugin new NAME": NEW,
}


def values(made, path=()):
    """Every option and argument that has a value, under each name that it may be known by."""
    for each in made.params:
        if getattr(each, "is_flag", False):
            continue
        options = [name for name in each.opts if name.startswith("--")]
        names = options or [each.metavar or each.name]
        known = {names[0], f"{names[0]} {each.metavar}", " ".join([*path, names[0]])}
        yield " ".join([*path, *names]), known, each
    for name in getattr(made, "list_commands", lambda _: ())(None):
        yield from values(made.get_command(None, name), (*path, name))


def test_each_is_completed_or_cannot_be_known():
    left, unused = [], set(UNKNOWN)
    for place, names, each in values(command()):
        completed = each._custom_shell_complete or each.type.name == "choice"
        unused -= names
        if bool(completed) == bool(names & set(UNKNOWN)):
            left.append(place)
    assert left == []
    assert unused == set()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (["vm", "session", "attach", "web", ""], ["compile", "watch"]),
        (["vm", "session", "delete", "web", ""], ["compile", "old", "watch"]),
        (["vm", "session", "attach", "build", ""], []),
        (["vm", "session", "start", "web", ""], []),
        (["vm", "snapshot", "restore", "web", ""], ["broken", "fresh"]),
        (["vm", "snapshot", "restore", "build", ""], ["other"]),
        (["vm", "snapshot", "delete", "we", ""], []),
        (["vm", "snapshot", "delete", "web", "broken", ""], ["fresh"]),
        (["vm", "snapshot", "list", "b"], ["build"]),
        (["net", "forward", "remove", "web", ""], ["8080", "53/udp"]),
        (["vm", "prune", "--label", ""], ["team=", "tier="]),
        (["vm", "prune", "--label", "team="], ["team=shop", "team=tools"]),
        (["vm", "set", "build", "--unlabel", ""], ["team"]),
        (["vm", "set", "--unlabel", ""], ["team", "tier"]),
        (["vm", "run", "--work-disk", ""], ["none"]),
        (["vm", "run", "--driver", "fire"], ["firecracker"]),
        (["image", "pull", "--platform", ""], ["linux/amd64", "linux/arm64"]),
        (["image", "pull", "oci:"], ["oci://"]),
        (["vm", "run", "deb"], ["debian:bookworm", "debian:trixie", "debian://"]),
        (["plugin", "check", "x", "--with", "re"], ["ref="]),
        (["dns", "wire", "--resolver", "d"], ["dnsmasq"]),
        (["vm", "cp", "we"], ["web:", "web-2:", "week.txt"]),
        (["vm", "cp", "web:/e"], []),
        (["vm", "cp", "s"], ["src/"]),
        (["vm", "cp", "./"], []),
    ],
)
def test_what_is_found(lived_in, tmp_path, capsys, line, found):
    (tmp_path / "home" / "week.txt").touch()
    (tmp_path / "home" / "src").mkdir()
    complete(line)
    assert [each.partition("\t")[0] for each in capsys.readouterr().out.splitlines()] == found


@pytest.mark.parametrize("record", ["", "[]", '{"plan": 3}', '{"plan": {"net": [1]}}'])
@pytest.mark.parametrize("verb", ["net forward remove", "vm session attach", "vm set --unlabel"])
def test_a_record_that_nobody_can_read_is_no_trouble(lived_in, capsys, record, verb):
    from banger_core.store.database import Database

    with Database.open(lived_in.database) as database, database.transaction() as connection:
        connection.execute("UPDATE vms SET record = ?", (record,))
    complete([*verb.split(), "web", ""])
    assert "Traceback" not in "".join(capsys.readouterr())
