"""What kernels say of themselves, and what is made of it."""

from __future__ import annotations

import gzip
import lzma

import pytest

from banger_core.kernel.configuration import embedded_configuration, parse_configuration
from banger_core.kernel.facts import read_facts
from banger_core.kernel.features import FEATURES, State
from banger_core.kernel.identity import identify
from banger_core.model import KernelFiles
from banger_core.testing.kernel_images import (
    COMPLETE,
    RELEASE,
    configuration_text,
    make_modules,
    make_vmlinux,
)

NAMES = [feature.name for feature in FEATURES]
AS_MODULES = {**COMPLETE, **dict.fromkeys(("VIRTIO_MMIO", "VIRTIO_BLK", "VIRTIO_NET"), "m")}


@pytest.fixture
def facts(tmp_path):
    def facts(config=None, modules=None, **kernel):
        vmlinux = tmp_path / "vmlinux"
        vmlinux.write_bytes(make_vmlinux(**kernel))
        place = tmp_path / "config"
        if config is not None:
            place.write_text(configuration_text(config))
        return read_facts(
            KernelFiles(
                vmlinux=vmlinux, modules=modules, config=place if config is not None else None
            )
        )

    return facts


def test_a_complete_kernel_misses_nothing(facts):
    found = facts()
    assert (found.version, found.distro, found.architecture) == (RELEASE, "debian", "amd64")
    assert found.features == dict.fromkeys(NAMES, State.BUILT_IN)
    assert found.evidence == "configuration inside the image"
    assert (found.misses, found.fatal) == ((), ())


def test_a_configuration_beside_the_image_is_as_good(facts):
    found = facts(config=COMPLETE, configuration=None)
    assert found.evidence == "configuration file"
    assert found.features == dict.fromkeys(NAMES, State.BUILT_IN)


def test_the_configuration_inside_goes_before_one_beside(facts):
    found = facts(config={})
    assert found.evidence == "configuration inside the image"
    assert found.fatal == ()


def test_modules_that_were_given_are_modules(facts, tmp_path):
    modules = make_modules(tmp_path / "m", "virtio_mmio", "virtio_blk", "virtio_net")
    found = facts(configuration=AS_MODULES, modules=modules)
    assert found.modules_for == RELEASE
    assert found.fatal == ()
    states = [found.features[name] for name in ("virtio_mmio", "virtio_blk", "virtio_net", "ext4")]
    assert states == [State.MODULE] * 3 + [State.BUILT_IN]


def test_modules_that_were_not_given_are_missing(facts):
    found = facts(configuration=AS_MODULES)
    assert found.features["virtio_blk"] is State.MISSING
    assert [text.split(":")[0] for text in found.fatal] == [
        "it has no virtio_blk",
        "it has no virtio_net",
    ]


@pytest.mark.parametrize(
    ("without", "fatal"),
    [
        (["VIRTIO_MMIO", "VIRTIO_PCI"], ["it has no virtio_mmio and no virtio_pci"]),
        (["VIRTIO_PCI"], []),
        (["VIRTIO_BLK"], ["it has no virtio_blk"]),
        (["VIRTIO_NET"], ["it has no virtio_net"]),
        (["EXT4_FS"], ["it has no ext4"]),
        (["DEVTMPFS"], ["it has no devtmpfs"]),
        (["BLK_DEV_INITRD"], ["it has no initrd"]),
        (["SERIAL_8250_CONSOLE"], []),
        (["VIRTIO_VSOCKETS"], []),
        (["HW_RANDOM_VIRTIO"], []),
    ],
    ids=lambda value: "+".join(value) if value and "it" not in value[0] else "",
)
def test_what_is_missing_is_said(facts, without, fatal):
    found = facts(configuration={k: v for k, v in COMPLETE.items() if k not in without})
    assert [text.split(":")[0] for text in found.fatal] == fatal
    assert len(found.misses) == len(without)


def test_a_kernel_without_the_pvh_entry_misses_it(facts):
    assert facts(pvh=False).misses == (
        "no pvh: no PVH entry: QEMU cannot start it (Firecracker can)",
    )


def test_the_pvh_entry_is_no_matter_of_other_processors(facts):
    found = facts(machine=183, pvh=False)
    assert found.architecture == "arm64"
    assert "pvh" not in found.features


def test_without_a_configuration_the_lists_of_modules_tell(facts, tmp_path):
    modules = make_modules(
        tmp_path / "m", "virtio-rng", "virtio_blk", builtin="ext4 8250 virtio_net"
    )
    found = facts(configuration=None, modules=modules)
    assert found.evidence == "lists of modules"
    assert found.features == {
        "virtio_mmio": State.MISSING,
        "virtio_pci": State.MISSING,
        "virtio_blk": State.MODULE,
        "virtio_net": State.BUILT_IN,
        "ext4": State.BUILT_IN,
        "serial": State.BUILT_IN,
        "devtmpfs": State.UNKNOWN,
        "initrd": State.UNKNOWN,
        "pvh": State.BUILT_IN,
        "vsock": State.MISSING,
        "virtio_rng": State.MODULE,
    }


def test_without_anything_else_texts_in_the_image_tell(facts):
    texts = b"".join(feature.trace for feature in FEATURES if feature.name != "vsock")
    found = facts(configuration=None, texts=texts)
    assert found.evidence == "texts in the image"
    assert found.features == {
        name: State.UNKNOWN if name == "vsock" else State.BUILT_IN for name in NAMES
    }
    assert found.fatal == ()


def test_modules_of_another_kernel_are_fatal(facts, tmp_path):
    modules = make_modules(tmp_path / "m", "ext4", release="6.1.0-8-test")
    assert facts(modules=modules).fatal == (
        f"the modules are for 6.1.0-8-test, the kernel is {RELEASE}",
    )


@pytest.mark.parametrize("suffix", ["xz", "gz"])
def test_packed_modules_say_their_release_too(facts, tmp_path, suffix):
    modules = make_modules(tmp_path / "m", release="x")
    pack = {"xz": lzma.compress, "gz": gzip.compress}[suffix]
    packed = pack(b"\x7fELF\0vermagic=7.0-odd SMP \0")
    (modules / "kernel" / f"a.ko.{suffix}").write_bytes(packed)
    assert facts(modules=modules).modules_for == "7.0-odd"


def test_damaged_modules_say_no_release(facts, tmp_path):
    modules = make_modules(tmp_path / "m", release="x")
    (modules / "kernel" / "a.ko.xz").write_bytes(b"\xfd7zXZ\0 damaged")
    found = facts(modules=modules)
    assert (found.modules_for, found.fatal) == ("", ())


@pytest.mark.parametrize(
    ("builder", "distro"),
    [
        ("debian-kernel@lists.debian.org", "debian"),
        ("buildd@lcy02-amd64-080", "ubuntu"),
        ("buildozer@build-3-22-x86_64", "alpine"),
        ("mockbuild@x86-vm-7.fedora.example", "fedora"),
        ("linux@archlinux", "arch"),
        ("me@here) (gcc (Debian 12.2.0-14", ""),
        ("me@here", ""),
    ],
)
def test_the_builder_is_told_by_the_banner(builder, distro):
    assert identify(make_vmlinux(builder=builder)).distro == distro


@pytest.mark.parametrize(
    ("machine", "architecture"), [(62, "amd64"), (183, "arm64"), (3, "i386"), (8, "ELF machine 8")]
)
def test_the_architecture_is_that_of_the_elf_file(machine, architecture):
    assert identify(make_vmlinux(machine=machine)).architecture == architecture


@pytest.mark.parametrize("image", [b"", b"\x7fELF", b"Linux version ", b"Linux version %s (%s"])
def test_an_image_that_says_nothing_has_no_version(image):
    assert identify(image).version == ""


def test_a_hostile_banner_is_not_taken():
    assert identify(make_vmlinux(release="6.1\x1b[2J")).version == ""
    assert identify(make_vmlinux(release="6" * 200)).version == ""


def test_damaged_configurations_count_as_none():
    good = make_vmlinux()
    at = good.index(b"IKCFG_ST")
    assert embedded_configuration(good)
    assert embedded_configuration(good[: at + 60]) is None
    assert embedded_configuration(good.replace(b"IKCFG_ED", b"IKCFG_XX")) is None
    damaged = bytearray(good)
    damaged[at + 30] ^= 0xFF
    assert embedded_configuration(bytes(damaged)) is None
    assert embedded_configuration(b"IKCFG_ST" + gzip.compress(bytes(5 << 20)) + b"IKCFG_ED") is None


def test_settings_that_are_off_are_not_there():
    text = 'CONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C="x=y"\n#CONFIG_D=y\n'
    assert parse_configuration(text) == {"A": "y", "C": '"x=y"'}
