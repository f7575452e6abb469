"""Images that are made here, in real machines: built twice, carried as a bundle, registered."""

from __future__ import annotations

import subprocess

import pytest

pytestmark = [pytest.mark.system, pytest.mark.timeout(900), pytest.mark.xdist_group("making")]

# An archive of its own, so that the next build installs something without a network
FIRST = """\
#!/bin/bash
set -e
[ "$(id -u)" = 0 ] && [ "$PWD" = / ] && [[ $- != *i* ]]
mkdir -p /srv/packages/DEBIAN /etc/ssh
cat >/srv/packages/DEBIAN/control <<END
Package: made-here
Version: 1
Architecture: all
Maintainer: nobody <nobody@example.com>
Description: made in a test
END
mkdir -p /srv/packages/usr/share/made-here
echo installed >/srv/packages/usr/share/made-here/text
dpkg-deb --build /srv/packages /srv/made-here.deb
rm -r /srv/packages
cd /srv && dpkg-deb -f made-here.deb >Packages
printf 'Filename: ./made-here.deb\\nSize: %s\\nSHA256: %s\\n' \\
  "$(stat -c %s made-here.deb)" "$(sha256sum <made-here.deb | cut -d' ' -f1)" >>Packages
rm -rf /etc/apt/sources.list /etc/apt/sources.list.d/*
echo 'deb [trusted=yes] copy:/srv ./' >/etc/apt/sources.list
echo somebody >/etc/machine-id
echo left >/root/here
echo secret >/etc/ssh/ssh_host_test_key
echo "this is heard"
echo "and this" >&2
"""

LOOK = """
cat /root/here
grep -c '^/dev/vdc /root ' /proc/mounts
cat /usr/share/made-here/text
ls /etc/ssh/ssh_host_test_key /run/banger-build 2>/dev/null
cat /etc/machine-id
grep -c '127.0.1.1.*build-' /etc/hosts
hostname
uname -r
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("making")


@pytest.fixture(scope="module")
def built(banger, place):
    """Two builds, one on the other; gives what the first one said."""
    script, packages = place / "first", place / "packages.txt"
    script.write_text(FIRST)
    packages.write_text("made-here  # and nothing else\n")
    first = banger.run("image", "build", "--from", "debian://bookworm", "--name", "first",
                       "--script", str(script))  # fmt: skip
    assert first.returncode == 0, first.stderr.decode()
    assert first.stdout == b"first\n"
    banger.ok("image", "build", "--from", "first", "--name", "second",
              "--packages", str(packages))  # fmt: skip
    assert banger.vm_names() == []
    return first.stderr.decode()


def test_what_a_build_says_is_heard(built):
    lines = built.splitlines()
    assert "this is heard" in lines
    assert "and this" in lines


def test_what_is_refused_before_any_machine_is_made(banger, built, place):
    script = place / "empty"
    script.write_text("\n")
    for words in (
        ("--script", str(script)),
        ("--script", str(place / "nothing")),
        ("--packages", "nosuchset"),
    ):
        done = banger.run("image", "build", "--from", "first", "--name", "third", *words)
        assert done.returncode == 2, done.stderr
    taken = banger.run("image", "build", "--from", "first", "--name", "second",
                       "--packages", "dev")  # fmt: skip
    assert b"named second already" in taken.stderr
    assert banger.vm_names() == []
    assert "third" not in {image["name"] for image in banger.json("image", "list")}


@pytest.fixture(scope="module")
def bundle(banger, built, place):
    target = place / "second.tar.zst"
    digest = banger.ok("image", "export", "second", str(target)).split()[0]
    banger.ok("image", "delete", "second")
    banger.ok("image", "import", str(target), "--sha256", digest, "--name", "carried")
    return target


def look(banger, image):
    """What is in a machine with a disk for /root, after what shows that it is there."""
    out = banger.ok("vm", "run", "--rm", "-q", "--name", "looks", "--work-disk", "128M", image,
                    "--", "sh", "-c", LOOK)  # fmt: skip
    left, mounted, *more = out.split()
    assert (left, mounted) == ("left", "1")
    return more


def seeds(banger, image, pattern):
    """The seeds of work disks that an image has."""
    place = banger.state / "images" / banger.json("image", "show", image)["id"]
    return sorted(place.glob(pattern))


def test_a_machine_of_a_built_and_carried_image(banger, bundle):
    shown = banger.json("image", "show", "carried")
    assert shown["kind"] == "managed"
    assert not seeds(banger, "carried", "work-seed.ext4")
    text, *identity, others, name, kernel = look(banger, "carried")
    # Real kernels wrote what it is made of
    assert seeds(banger, "carried", "work-seed.ext4")
    assert text == "installed"
    # Systemd makes a new one; without it the file stays empty
    assert len(identity) <= 1
    assert "somebody" not in identity
    assert (others, name) == ("0", "looks")
    assert kernel in shown["kernel"]


def test_a_machine_of_a_registered_image(banger, bundle, place):
    """Another kernel than the bundle's, and the user's own file, which is only read."""
    subprocess.run(
        ["tar", "--zstd", "-xf", str(bundle), "-C", str(place), "rootfs.ext4"], check=True
    )
    rootfs = place / "rootfs.ext4"
    before = rootfs.stat()
    names = [kernel["name"] for kernel in banger.json("kernel", "list")]
    banger.ok("image", "register", "--name", "own", "--rootfs", str(rootfs),
              "--kernel-ref", names[0])  # fmt: skip
    assert look(banger, "own")[0] == "installed"
    assert seeds(banger, "own", "work-seeds/*.ext4")
    after = rootfs.stat()
    assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size)
    banger.ok("image", "delete", "own")
    assert rootfs.exists()
