"""What the predecessor packaged becomes images: directories, archives, runtime-bundle.toml."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile

import pytest

from banger_core.errors import HostileInput, IntegrityError, UsageProblem
from banger_core.testing.kernel_images import RELEASE, make_bzimage, make_modules, make_vmlinux

DOCUMENT = {
    "kernel": "boot/vmlinuz",
    "modules": "modules",
    "rootfs": "rootfs.ext4",
    "defaults": {"vcpu": 2, "memory": "1G"},
    "firecracker_bin": "bin/firecracker",
}


def take(bench, source, **more):
    return bench.run(lambda engine, op: engine.importer.take(str(source), op, **more))


@pytest.fixture
def tree(mine, tmp_path):
    """A directory as the predecessor laid it out."""
    root = tmp_path / "old-1.0"
    (root / "boot").mkdir(parents=True)
    (root / "boot" / "vmlinuz").write_bytes(make_bzimage(gzip.compress(make_vmlinux())))
    make_modules(root / "modules", "btrfs")
    (root / "rootfs.ext4").write_bytes((mine / "root.ext4").read_bytes())
    (root / "bin").mkdir()
    (root / "bin" / "firecracker").write_text("not for us")
    (root / "bundle.json").write_text(json.dumps(DOCUMENT))
    return root


def packed(tree, target, prefix="", *extra):
    with tarfile.open(target, "w:gz" if target.suffix == ".gz" else "w") as archive:
        archive.add(tree, arcname=prefix or ".")
        for member, data in extra:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return target


def is_whole(bench, image, mine):
    assert image.rootfs.read_bytes() == (mine / "root.ext4").read_bytes()
    assert image.rootfs.stat().st_blocks * 512 < image.rootfs.stat().st_size
    assert image.kernel_files.vmlinux.read_bytes() == make_vmlinux()
    assert image.kernel.version == RELEASE
    assert (image.kernel_files.modules / "kernel/drivers/btrfs.ko").is_file()
    assert bench.leftovers() == []


def refused(bench, source, kind, words, **more):
    with pytest.raises(kind) as caught:
        take(bench, source, **more)
    text = f"{caught.value.summary} {caught.value.cause}"
    assert words in text, text
    assert bench.images() == {}
    assert bench.leftovers() == []


def test_a_directory(bench, mine, tree):
    image = take(bench, tree)
    assert image.name == "old-1.0"
    is_whole(bench, image, mine)
    assert any("memory, vcpu" in text for text in bench.notices)
    assert take(bench, tree / "bundle.json", name="again").pin.digest == image.pin.digest


def test_the_names_of_older_documents(bench, mine, tree):
    old = {
        "defaults": {
            "default_kernel": "boot/vmlinuz",
            "default_modules_dir": "modules",
            "default_rootfs": "rootfs.ext4",
        }
    }
    (tree / "bundle.json").write_text(json.dumps(old))
    is_whole(bench, take(bench, tree), mine)


@pytest.mark.parametrize("prefix", ["", "old"])
def test_an_archive(bench, mine, tree, tmp_path, prefix):
    image = take(bench, packed(tree, tmp_path / "lab.tar.gz", prefix))
    assert image.name == "lab"
    is_whole(bench, image, mine)


def toml(tree, tmp_path, *, prefix="root", metadata="", required=("boot/vmlinuz",), **changes):
    archive = packed(tree, tmp_path / "runtime.tar.gz", prefix)
    facts = {
        "version": "v0.3 beta",
        "url": "runtime.tar.gz",
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "bundle_root": prefix,
        **changes,
    }
    lines = [f"{key} = {json.dumps(value)}" for key, value in facts.items() if value is not None]
    lines.append(f"required_paths = {json.dumps(list(required))}")
    path = tmp_path / "runtime-bundle.toml"
    path.write_text("\n".join([*lines, metadata]))
    return path


def test_a_runtime_bundle(bench, mine, tree, tmp_path):
    image = take(bench, toml(tree, tmp_path))
    assert image.name == "runtime-v0.3-beta"
    is_whole(bench, image, mine)


def test_a_runtime_bundle_with_its_own_metadata(bench, mine, tree, tmp_path):
    (tree / "bundle.json").unlink()
    metadata = '[bundle_metadata]\nkernel = "boot/vmlinuz"\nrootfs = "rootfs.ext4"\n'
    metadata += 'modules = "modules"\n'
    is_whole(bench, take(bench, toml(tree, tmp_path, metadata=metadata)), mine)


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"sha256": "0" * 64}, IntegrityError, "not what was promised"),
        ({"sha256": None}, HostileInput, "sha256"),
        ({"sha256": "abc"}, HostileInput, "sha256"),
        ({"url": ""}, HostileInput, "url"),
        ({"url": "http://192.0.2.1/x.tar"}, UsageProblem, "plain http"),
        ({"url": "nothing.tar.gz"}, UsageProblem, "cannot be taken"),
        ({"bundle_root": "../.."}, HostileInput, "leads out of it"),
        ({"bundle_root": "elsewhere"}, HostileInput, "it is no bundle"),
        ({"required": ("boot/vmlinuz", "bin/jailer")}, IntegrityError, "bin/jailer' is missing"),
        ({"required": ("/etc/passwd",)}, HostileInput, "leads out of it"),
    ],
)
def test_runtime_bundles_that_are_refused(bench, tree, tmp_path, changes, kind, words):
    refused(bench, toml(tree, tmp_path, **changes), kind, words)


@pytest.mark.parametrize(
    ("document", "kind", "words"),
    [
        ("{", HostileInput, "is no JSON"),
        ("[]", HostileInput, "is n"),
        ("{}", HostileInput, "kernel"),
        (json.dumps({**DOCUMENT, "rootfs": "../x"}), HostileInput, "leads out of it"),
        (json.dumps({**DOCUMENT, "rootfs": "/etc/passwd"}), HostileInput, "leads out of it"),
        (json.dumps({**DOCUMENT, "rootfs": "nothing"}), UsageProblem, "not in its directory"),
        (json.dumps({**DOCUMENT, "kernel": 7}), HostileInput, "kernel"),
    ],
)
def test_documents_that_are_refused(bench, tree, document, kind, words):
    (tree / "bundle.json").write_text(document)
    refused(bench, tree, kind, words)


def test_a_link_that_leads_out_of_the_directory(bench, mine, tree):
    (tree / "rootfs.ext4").unlink()
    (tree / "rootfs.ext4").symlink_to(mine / "root.ext4")
    refused(bench, tree, UsageProblem, "not in its directory")


def test_a_link_in_an_archive(bench, tree, tmp_path):
    (tree / "rootfs.ext4").unlink()
    (tree / "rootfs.ext4").symlink_to("/etc/passwd")
    refused(bench, packed(tree, tmp_path / "x.tar"), HostileInput, "its rootfs is a symlink")


def test_a_part_that_is_there_twice(bench, tree, tmp_path):
    extra = (tarfile.TarInfo("./boot/vmlinuz"), b"other")
    refused(bench, packed(tree, tmp_path / "x.tar", "", extra), HostileInput, "twice")


def test_a_part_that_is_missing(bench, tree, tmp_path):
    (tree / "rootfs.ext4").unlink()
    refused(bench, packed(tree, tmp_path / "x.tar"), IntegrityError, "rootfs.ext4' is missing")


def test_a_digest_of_a_directory(bench, tree):
    refused(bench, tree, UsageProblem, "--sha256 is of one file", sha256="0" * 64)


def test_a_directory_without_a_document(bench, tmp_path):
    (tmp_path / "empty").mkdir()
    refused(bench, tmp_path / "empty", UsageProblem, "is no bundle")
