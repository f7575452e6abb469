"""Other kernels than the default one, imported or pulled and then booted."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from kernel_parts import AlpineKernel, alpine_kernel

from banger_core.config.paths import secure_dir
from banger_core.kernel.collection import collect
from banger_core.kernel.origin import in_boot
from banger_core.testing.wheels import shared_cache

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.system, pytest.mark.timeout(900), pytest.mark.xdist_group("kernels")]

# What a guest needs of its kernel, in use: the root disk to read and write, and the network
LOOK = """
uname -r
findmnt -no SOURCE,FSTYPE /
echo kept >/written && sync && cat /written
ping -qc1 -W5 10.0.2.2 >/dev/null && echo answers
"""
WORKS = ["/dev/vda", "ext4", "kept", "answers"]


@pytest.fixture(scope="module")
def alpine(banger, tmp_path_factory) -> AlpineKernel:
    return alpine_kernel(tmp_path_factory.mktemp("alpine"))


def look(banger, kernel: str) -> list[str]:
    """Boot ``kernel`` and look around; returns what it is, and what works."""
    return banger.ok("vm", "run", "--rm", "-q", "--kernel-ref", kernel, "--",
                     "sh", "-c", LOOK).split()  # fmt: skip


def version(banger, kernel: str) -> str:
    return str(banger.json("kernel", "show", kernel)["version"])


def test_a_kernel_whose_file_system_is_a_module(banger):
    """Debian's generic kernel: nothing is built in, not even ext4 or the checksums it uses."""
    found = look(banger, "debian://bookworm-generic")
    assert found[0] == version(banger, "bookworm-generic")
    assert found[0].endswith("-amd64")
    assert "cloud" not in found[0]
    assert found[1:] == WORKS


def test_a_newer_kernel_with_packed_modules(banger):
    """Debian 13's cloud kernel: packed with zstd, its modules with xz."""
    found = look(banger, "debian://trixie-cloud")
    assert found[0] == version(banger, "trixie-cloud")
    assert found[0].startswith("6.12.")
    assert found[1:] == WORKS


def test_what_the_archive_ships_is_imported_from_wherever_it_lies(banger, tmp_path):
    """A package, its unpacked files, and an installed kernel are the one that was pulled."""
    (known,) = banger.state.glob("plugins/debian/kernel-bookworm-cloud-*.json")
    digest = re.search(r'"sha256": *"([0-9a-f]{64})"', known.read_text())[1]
    package = tmp_path / "linux-image.deb"
    shutil.copy(shared_cache() / "debian" / "sha256" / digest, package)
    root = tmp_path / "root"
    subprocess.run(["dpkg-deb", "-x", package, root], check=True)

    pulled = banger.json("kernel", "show", "bookworm-cloud")
    banger.ok("kernel", "import", "packaged", "--deb", str(package))
    banger.ok("kernel", "import", "unpacked", "--from", str(root))
    origin = in_boot(pulled["version"], root)
    installed = collect(origin, secure_dir(tmp_path / "installed"), lambda *_: None)

    mine = [banger.json("kernel", "show", name) for name in ("packaged", "unpacked")]
    for fact in ("version", "distro", "digest", "facts"):
        assert [one[fact] for one in mine] == [pulled[fact]] * 2, fact
    kernels = banger.state / "kernels"
    modules = names(kernels / "bookworm-cloud" / "modules")
    assert names(kernels / "packaged" / "modules") == modules
    assert names(kernels / "unpacked" / "modules") == modules
    assert names(installed.modules) == modules
    assert installed.vmlinux.read_bytes() == (kernels / "packaged" / "vmlinux").read_bytes()


def names(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*.ko*")}


def test_the_kernel_of_another_distribution(banger, alpine):
    banger.ok("kernel", "import", "alpine-virt", "--kernel", str(alpine.image),
              "--modules", str(alpine.modules))  # fmt: skip
    shown = banger.json("kernel", "show", "alpine-virt")
    assert shown["version"] == alpine.release == "6.18.56-0-virt"
    assert shown["distro"] == "alpine"
    found = look(banger, "alpine-virt")
    assert found[0] == alpine.release
    assert found[1:] == WORKS


def test_without_a_module_it_needs_an_image_is_refused_at_once(banger, alpine, tmp_path):
    """Not made, rather than a machine that never comes up."""
    modules = tmp_path / alpine.release
    shutil.copytree(alpine.modules / alpine.release, modules)
    for path in modules.rglob("ext4.ko*"):
        path.unlink()
    words = ["kernel", "import", "no-ext4", "--kernel", str(alpine.image),
             "--modules", str(modules)]  # fmt: skip
    refused = banger.run(*words)
    assert refused.returncode != 0
    assert b"ext4" in refused.stderr
    banger.ok(*words, "--force")
    before = {image["name"] for image in banger.json("image", "list")}

    failed = banger.run("vm", "run", "--rm", "--kernel-ref", "no-ext4", "--", "true")

    assert failed.returncode not in (0, 255)
    assert b"no ext4" in failed.stderr
    assert banger.vm_names() == []
    assert {image["name"] for image in banger.json("image", "list")} == before


def test_a_kernel_with_everything_built_in_needs_no_modules(banger):
    """Its initramfs has none, and it has no way to load any."""
    image = ROOT / ".setup" / "builtin-vmlinuz"
    if not image.exists():
        pytest.skip("scripts/builtin-kernel builds one in minutes; nobody packages such a kernel")
    config = ROOT / "tests" / "system" / "builtin.config"
    banger.ok("kernel", "import", "builtin", "--kernel", str(image), "--config", str(config))
    assert "CONFIG_MODULES=y" not in config.read_text()
    found = look(banger, "builtin")
    assert found[0] == version(banger, "builtin")
    assert found[1:] == WORKS
