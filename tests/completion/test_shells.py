"""Real shells on a terminal: what Tab makes of a line, while no daemon runs."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
import time

import pexpect
import pytest

from banger_core.config.paths import Paths

SHELLS = {
    "bash": (["--norc", "--noprofile"], "banger.bash", "source ~/banger.bash"),
    "zsh": (["-f"], "_banger", "fpath=(~ $fpath); autoload -Uz compinit; compinit -u -D"),
    "fish": (["--no-config"], "banger.fish", "source ~/banger.fish"),
}
ODD = "odd $(echo 'x') `y` \\ ; & \"z\" *"
"""A file's name that a shell must not read as a command."""

LINES = [
    ("ker\t--help", "kernel --help"),
    ("vm sho\t", "vm show"),
    ("vm show bui\t", "vm show build"),
    ("vm start build web-\t", "vm start build web-2"),
    ("ssh bui\t", "ssh build"),
    ("ssh expl\t", "ssh explain"),
    ("vm list --js\t", "vm list --json"),
    ("image show debian:t\t", "image show debian:trixie"),
    ("image show py\t", "image show python:3.12-slim"),
    ("kernel show ow\t", "kernel show own-6.12"),
    ("vm run --kernel-ref bo\t", "vm run --kernel-ref bookworm-cloud"),
    ("vm run --kernel-ref=bo\t", "vm run --kernel-ref=bookworm-cloud"),
    ("image import new --rootfs fil\t", "image import new --rootfs file.txt"),
    ("vm session logs web co\t", "vm session logs web compile"),
    ("vm snapshot restore web fr\t", "vm snapshot restore web fresh"),
    ("vm snapshot delete web fresh b\t", "vm snapshot delete web fresh broken"),
    ("net forward remove web 80\t", "net forward remove web 8080"),
    ("vm run --network no\t", "vm run --network none"),
    ("vm prune --label te\tsh\t", "vm prune --label team=shop"),
    ("vm cp fi\tbui\t/tmp", "vm cp file.txt build:/tmp"),
    ("vm cp od\t/tmp", f"vm cp {ODD} /tmp"),
    ("plugin show user\t", "plugin show user-network"),
    ("--no-pl\tps", "--no-plugins ps"),
]
PROGRAM = """\
#!/bin/sh
if [ -n "$_BANGER_COMPLETE" ]; then exec {banger} "$@"; fi
echo "$*" >"$HOME/.line" && mv "$HOME/.line" "$HOME/line"
"""


@pytest.fixture(params=SHELLS)
def shell(request, lived_in, monkeypatch, tmp_path):
    """A shell at its prompt, with completion as the help says to install it, and a ``banger``
    that completes, and otherwise only notes what it was asked.
    """
    options, file, begin = SHELLS[request.param]
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not here: scripts/setup test")
    home, programs = tmp_path / "home", tmp_path / "bin"
    programs.mkdir()
    banger = f"{sysconfig.get_path('scripts')}/banger"
    (programs / "banger").write_text(PROGRAM.format(banger=banger))
    (programs / "banger").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    script = subprocess.run([banger, "completion", request.param], capture_output=True, check=True)
    (home / file).write_bytes(script.stdout)
    (home / "file.txt").touch()
    (home / ODD).touch()
    child = pexpect.spawn(request.param, [*options, "-i"], timeout=60, dimensions=(40, 200))
    child.sendline(begin)
    child.sendline("echo be''gun")
    child.expect("begun")
    yield child
    child.close(force=True)


def asked(child, place, typed):
    """What banger is asked when ``typed`` is typed, Tabs and all."""
    child.send(f"banger {typed}\r")
    deadline = time.monotonic() + 60
    while not place.exists():
        assert time.monotonic() < deadline, f"nothing came of {typed!r}"
        child.expect([pexpect.TIMEOUT, r".+"], timeout=0.05)
    line = place.read_text().strip()
    place.unlink()
    return line


def test_tab_completes(shell, tmp_path):
    place = tmp_path / "home" / "line"
    assert [asked(shell, place, typed) for typed, _ in LINES] == [line for _, line in LINES]
    assert not Paths.from_environment().daemon_log.exists(), "a key press starts no daemon"


def test_what_fits_is_shown(shell):
    shell.send("banger image \t\t")
    # Only bash has no room for summaries
    shell.expect(
        "inspect|verify|prune|show" if b"bash" in shell.args[0].encode() else "List the images"
    )
