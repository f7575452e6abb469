"""Every kind of image boots: Debian without an SSH server, Alpine, one static program, systemd and
an SSH server of its own. All come from a real registry on loopback.
"""

from __future__ import annotations

import ast
import asyncio
import platform
from pathlib import Path

import oci_views
import pexpect
import pytest
from oci_archives import directory, file, tar
from oci_ext4 import read_tree
from oci_images import running_registry
from oci_wheel import TAG, unpack_layout

from banger_core.api import FileLock, GuestFiles, ImageRef
from banger_core.testing.context import FakeContext
from banger_core.testing.wheels import shared_cache
from banger_debian.guest import DebianGuest
from banger_debian.image import DebianImages

pytestmark = [pytest.mark.system, pytest.mark.timeout(900), pytest.mark.xdist_group("oci-images")]

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]


class SharedCache(FakeContext):
    """What the Debian plugin downloads and makes is kept between runs."""

    @property
    def cache_dir(self) -> Path:
        return shared_cache() / "debian"


@pytest.fixture(scope="module")
def registry(tmp_path_factory):
    with running_registry(tmp_path_factory.mktemp("registry")) as one:
        yield one


def debian(home: Path, rest: str) -> Path:
    """The archive of ``debian://REST``, made once."""
    cx, source = SharedCache(home), DebianImages()

    async def fetched() -> str:
        pin = await source.resolve(ImageRef("debian", rest), cx)
        await source.fetch(pin, cx)
        return pin.digest.removeprefix("sha256:")

    lock = FileLock(shared_cache() / "tests.lock")
    lock.acquire(600)
    with lock:
        return cx.cache_dir / "images" / f"{asyncio.run(fetched())}.tar"


def busybox(home: Path) -> bytes:
    """A static program: the one that the guest runtime brings along."""
    cx = SharedCache(home)

    async def files() -> GuestFiles:
        return await DebianGuest().materialise(await DebianGuest().resolve(ARCHITECTURE, cx), cx)

    return asyncio.run(files()).programs["busybox"].read_bytes()


def test_debian_without_an_ssh_server_runs_as_its_configuration_says(banger, registry, tmp_path):
    upper = tmp_path / "upper.tar"
    upper.write_bytes(
        tar(
            directory(b"srv/app"), file(b"srv/app/greeting", b"hello from the upper layer\n"),
            file(b"usr/share/.wh.doc"), file(b"etc/issue", b"replaced\n"),
        )
    )  # fmt: skip
    reference = registry.push_layers(
        "team/debian:12", [debian(tmp_path, "bookworm"), upper], ARCHITECTURE,
        Env=["GREETING=two words", "PATH=/usr/local/bin:/usr/bin:/bin"],
        WorkingDir="/srv/app", User="games:audio", Cmd=["cat", "greeting"],
    )  # fmt: skip
    script = (
        "id -un; id -gn; pwd; echo $GREETING; cat greeting /etc/issue; ls -d /usr/share/doc 2>&1; "
        "command -v sshd || echo no sshd; . /etc/os-release; echo $VERSION_CODENAME; exit 7"
    )

    done = banger.run("vm", "run", "--rm", "-q", reference, "--", "sh", "-c", script)

    assert done.stderr == b""
    assert done.stdout.decode().splitlines() == [
        "games", "audio", "/srv/app", "two words", "hello from the upper layer", "replaced",
        "ls: cannot access '/usr/share/doc': No such file or directory", "no sshd", "bookworm",
    ]  # fmt: skip
    assert done.returncode == 7


MOUNTED = {b"dev", b"proc", b"sys", b"run", b"run/lock"}
WRITTEN = {
    b"etc", b"etc/hostname", b"etc/hosts", b"etc/resolv.conf", b"etc/profile.d",
    b"etc/profile.d/banger.sh", b"lost+found",
}  # fmt: skip
"""What is written when the machine starts, and ext4's own directory."""


@pytest.mark.skipif(ARCHITECTURE != "amd64", reason="the image is one for amd64")
def test_alpine_runs_python_and_its_kernel_sees_what_was_packed(banger, registry, tmp_path):
    reference = registry.push(unpack_layout(tmp_path / "layout"), TAG, "python:3.12")
    banger.ok("vm", "run", "-d", "--name", "alpine", reference)

    assert banger.ok("vm", "exec", "alpine", "--", "python", "-V") == "Python 3.12.11\n"
    said = banger.ok("vm", "exec", "alpine", "--", "sh", "-c", "id -un; pwd; echo $LANG")
    assert said.split() == ["appuser", "/app", "C.UTF-8"]

    script = Path(oci_views.__file__).read_bytes() + b'\nprint(repr(view_of_directory("/")))\n'
    listed = banger.ok("vm", "exec", "-u", "root", "alpine", "--", "python3", "-", stdin=script)

    # Last, because a shell writes its history
    program, *words = banger.argv("vm", "ssh", "alpine")
    shell = pexpect.spawn(program, words, env=banger.env, timeout=120, encoding="utf-8")
    shell.expect_exact("/app$ ")
    shell.sendline("id -u''n; pwd; python -V; exit 5")
    shell.expect("appuser\r\n/app\r\nPython 3.12.11\r\n")
    shell.expect(pexpect.EOF)
    shell.close()
    assert shell.exitstatus == 5
    banger.ok("vm", "delete", "--force", "alpine")
    image = banger.state / "images" / banger.json("image", "show", reference)["id"]
    packed = oci_views.view_of_tree(read_tree(image / "rootfs.ext4"))
    seen = ast.literal_eval(listed)
    assert len(seen) > 2000
    found = [one for one in oci_views.differences(packed, seen) if one[0] not in MOUNTED | WRITTEN]
    assert not found, "\n".join(map(str, found[:20]))


def test_an_image_of_one_static_program_runs_it(banger, registry, tmp_path):
    layer = tmp_path / "layer.tar"
    layer.write_bytes(tar(file(b"busybox", busybox(tmp_path), mode=0o755)))
    reference = registry.push_layers(
        "scratch:1", [layer], ARCHITECTURE,
        Entrypoint=["/busybox", "echo", "nothing else"], Cmd=["is here"], User="1234:5678",
    )  # fmt: skip

    done = banger.run("vm", "run", "--name", "scratch", "-q", "--entrypoint", reference)

    assert (done.stdout, done.stderr, done.returncode) == (b"nothing else is here\n", b"", 0)
    image = banger.state / "images" / banger.json("image", "show", reference)["id"]
    assert set(read_tree(image / "rootfs.ext4")) == {b"", b"busybox"}
    banger.ok("vm", "delete", "scratch")


def test_systemd_is_the_init_and_the_images_own_ssh_server_works_beside_ours(
    banger, registry, tmp_path
):
    archive = debian(tmp_path, "bookworm?include=systemd-sysv,openssh-server")
    reference = registry.push_layers("debian-systemd:12", [archive], ARCHITECTURE)
    banger.ok("vm", "run", "-d", "--name", "full", "--memory", "512M", reference)

    def said(script: str) -> str:
        return banger.ok("vm", "exec", "full", "--", "bash", "-c", script).strip()

    assert said("cat /proc/1/comm") == "systemd"
    # It comes up in its own time: first it listens, then is-system-running waits for the rest
    said("until [ -S /run/systemd/private ]; do sleep 0.1; done")
    assert said("systemctl is-system-running --wait; systemctl is-active ssh").endswith("\nactive")
    assert said("exec 3<>/dev/tcp/127.0.0.1/22; head -n 1 <&3").startswith("SSH-2.0-OpenSSH_9")
    assert said("systemctl --failed --plain --no-legend") == ""
    banger.ok("vm", "stop", "full")
    banger.ok("vm", "delete", "full")
