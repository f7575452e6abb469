"""``scripts/setup`` and ``scripts/first-vm``: what is missing is named, installed or said how.

Everything that they would change is a stand-in of the test's own; nothing is installed here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = (
    *("bash", "sh", "env", "id", "cat", "cp", "chmod", "dirname", "sha256sum", "mkdir", "mktemp"),
    *("rm", "tail", "grep"),
)
NEED = re.compile(r'^ +"(?P<program>[^/:"][^:"]*):[^:"]+:[^"]+"$', re.MULTILINE)
PYTHON = f"""#!/bin/sh
case "$*" in
*"-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python; : >.venv/bin/pip;;
*"pip>="*) exit 0;;
*"-m pip"*) echo "$*" >>pip.log; cp "$0" .venv/bin/banger;;
*compileall*|*prefix*) [ -e .venv/bin/pip ];;
*) exec {sys.executable} "$@";;
esac
"""


class Host:
    """A checkout, and a PATH that holds what is put there."""

    def __init__(self, place: Path) -> None:
        self.checkout, self.bin = place / "checkout", place / "bin"
        self.bin.mkdir()
        for name in ("scripts/setup", "scripts/first-vm", "pyproject.toml"):
            target = self.checkout / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target)
        for plugin in (ROOT / "plugins").glob("*/pyproject.toml"):
            target = self.checkout / "plugins" / plugin.parent.name / plugin.name
            target.parent.mkdir(parents=True)
            shutil.copy(plugin, target)
        for tool in TOOLS:
            (self.bin / tool).symlink_to(shutil.which(tool) or f"/no/{tool}")
        self.program("python3", PYTHON)

    def program(self, name: str, script: str = "#!/bin/sh\n") -> None:
        (self.bin / name).write_text(script)
        (self.bin / name).chmod(0o755)

    def all_but(self, *missing: str) -> None:
        """Put every program there that setup asks for, without ``missing``."""
        programs = set(NEED.findall((ROOT / "scripts" / "setup").read_text()))
        assert programs > {"qemu-system-x86_64", "sshd", *missing}
        for name in programs.difference(missing):
            self.program(name)

    def user(self, number: int) -> None:
        (self.bin / "id").unlink()
        self.program("id", f"#!/bin/sh\necho {number}\n")

    def apt(self, ends: int = 0) -> None:
        """An apt-get that notes what it was asked, and installs what is named like a program."""
        self.program(
            "apt-get",
            f'#!/bin/sh\necho "$*" >>{self.checkout}/apt.log; echo progress; '
            f"[ {ends} = 0 ] || {{ echo no such mirror >&2; exit {ends}; }}\n"
            f"case $* in *qemu*) cp {self.bin}/ssh {self.bin}/qemu-system-x86_64;; esac\n",
        )

    def asked(self, what: str = "apt") -> list[str]:
        log = self.checkout / f"{what}.log"
        return log.read_text().splitlines() if log.exists() else []

    def setup(self, purpose: str = "run") -> subprocess.CompletedProcess[str]:
        # The administrator's directories, where setup looks as well, are the test's own too
        script = self.checkout / "scripts" / "setup"
        script.write_text(script.read_text().replace(":/usr/sbin:/sbin", ""))
        return subprocess.run(
            [shutil.which("bash") or "bash", str(script), purpose],
            env={"PATH": str(self.bin), "HOME": str(self.checkout)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def test_what_is_there_is_not_set_up_again(host):
    host.all_but()
    first = host.setup()
    assert (first.returncode, first.stdout) == (0, "")
    assert "making the Python environment" in first.stderr
    assert len(host.asked("pip")) == 1
    plugins = sorted(path.name for path in (ROOT / "plugins").iterdir())
    assert all(f"plugins/{name}" in host.asked("pip")[0] for name in plugins)

    again = host.setup()
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert len(host.asked("pip")) == 1

    # What decides the content of the environment has changed
    with (host.checkout / "pyproject.toml").open("a") as file:
        file.write("# more\n")
    assert "making the Python environment" in host.setup().stderr
    assert len(host.asked("pip")) == 2


def test_tests_need_more_and_what_they_made_serves_to_run(host):
    host.all_but()
    assert host.setup("test").returncode == 0
    assert "--group dev" in host.asked("pip")[0]
    assert host.setup("run").stderr == ""


def test_root_gets_what_is_missing_with_the_reason(host):
    host.all_but("qemu-system-x86_64")
    host.user(0)
    host.apt()
    done = host.setup()
    assert done.returncode == 0, done.stderr
    assert "qemu-system-x86: runs the virtual machines" in done.stderr
    assert "progress" not in done.stderr
    assert host.asked() == ["update", "install -y --no-install-recommends qemu-system-x86"]


def test_a_user_gets_it_by_sudo(host):
    host.all_but("qemu-system-x86_64")
    host.user(1000)
    host.apt()
    log = host.checkout / "sudo.log"
    host.program("sudo", f'#!/bin/sh\necho "$*" >>{log}\n[ "$1" = -n ] || "$@"\n')
    done = host.setup()
    assert done.returncode == 0, done.stderr
    install = "apt-get install -y --no-install-recommends qemu-system-x86"
    as_root = ["apt-get update", f"env DEBIAN_FRONTEND=noninteractive {install}"]
    assert host.asked("sudo")[-2:] == as_root


@pytest.mark.parametrize(
    ("sudo", "command"),
    [
        ("", "su - -c 'apt-get update && apt-get install -y --no-install-recommends mmdebstrap'"),
        (
            "#!/bin/sh\nexit 1\n",
            "sudo apt-get update && sudo apt-get install -y --no-install-recommends mmdebstrap",
        ),
    ],
    ids=["no sudo", "sudo wants a password and nobody is there"],
)
def test_a_user_who_cannot_is_told_the_command(host, sudo, command):
    host.all_but("mmdebstrap")
    host.user(1000)
    host.apt()
    if sudo:
        host.program("sudo", sudo)
    done = host.setup()
    assert done.returncode == 4
    assert "error: they cannot be installed without root" in done.stderr
    assert f"try: {command}\n" in done.stderr
    assert host.asked() == []
    assert not (host.checkout / ".venv").exists()


def test_an_installation_that_fails_shows_why(host):
    host.all_but("mmdebstrap")
    host.user(0)
    host.apt(ends=100)
    done = host.setup()
    assert done.returncode == 4
    assert "no such mirror" in done.stderr
    assert "error: the system packages could not be installed" in done.stderr


def test_another_distribution_is_told_what_is_missing(host):
    host.all_but("gpgv")
    done = host.setup()
    assert done.returncode == 4
    assert "gpgv: verifies the signatures" in done.stderr
    assert "error: this system has no apt-get" in done.stderr


@pytest.mark.parametrize("status", [0, 7])
def test_the_first_machine_s_output_and_status_are_the_command_s(host, status):
    program = host.checkout / ".venv" / "bin" / "banger"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\necho "$*"\necho talk >&2\nexit {status}\n')
    program.chmod(0o755)
    done = subprocess.run(
        [sys.executable, str(host.checkout / "scripts" / "first-vm")],
        capture_output=True, text=True, check=False, env={**os.environ, "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == status
    assert done.stdout == "vm run --rm -- sh -c uname -a; grep PRETTY_NAME /etc/os-release\n"
    assert ("time to first command: " in done.stderr) == (status == 0)
    assert (".venv/bin/banger vm run\n" in done.stderr) == (status == 0)
