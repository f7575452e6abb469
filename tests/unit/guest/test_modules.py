from __future__ import annotations

import gzip
import lzma
import sys
from random import Random

import pytest
from backports import zstd

from banger_core.errors import HostNotReady, IntegrityError
from banger_core.guest import modules
from banger_core.guest.modules import ModuleTree, dependencies, wishes


@pytest.fixture
def tree(tmp_path, make_module):
    """net needs failover and ring, failover needs core, core is built in."""
    drivers = tmp_path / "kernel" / "drivers"
    drivers.mkdir(parents=True)
    (drivers / "virtio-net.ko.xz").write_bytes(
        lzma.compress(make_module("net_failover", "virtio_ring", "core"))
    )
    (drivers / "net_failover.ko.gz").write_bytes(gzip.compress(make_module("core", "virtio_ring")))
    (drivers / "virtio_ring.ko").write_bytes(make_module())
    (drivers / "lost.ko").write_bytes(make_module("nowhere"))
    (drivers / "bad.ko").write_bytes(b"\x7fELF\x02\x01" + bytes(100))
    (drivers / "notes.ko.txt").write_text("not a module")
    (tmp_path / "modules.builtin").write_text("kernel/lib/core.ko\nkernel/fs/ext4/ext4.ko\n")
    return ModuleTree(tmp_path)


def names(chosen):
    return [module.name for module in chosen]


def test_dependencies_come_first_and_once(tree):
    assert names(tree.select(["virtio_net"])) == ["virtio_ring", "net_failover", "virtio_net"]
    assert names(tree.select(["virtio_ring", "virtio-net"]))[0] == "virtio_ring"


def test_modules_come_decompressed(tree):
    assert all(module.data.startswith(b"\x7fELF") for module in tree.select(["virtio_net"]))


def test_builtin_unknown_and_loaded_ones_are_left_out(tree):
    assert tree.select(["ext4", "core", "no_such_driver"]) == []
    assert names(tree.select(["virtio_net"], loaded=["virtio-ring"])) == [
        "net_failover",
        "virtio_net",
    ]


def test_missing_dependency_is_named(tree):
    with pytest.raises(IntegrityError, match="nowhere"):
        tree.select(["lost"])


def test_damaged_module_is_refused(tree):
    with pytest.raises(IntegrityError):
        tree.select(["bad"])


@pytest.mark.parametrize("cut", [0, 10, 63, 100, 150])
def test_cut_module_is_refused(make_module, cut):
    with pytest.raises(IntegrityError):
        list(dependencies(make_module("a", "b")[:cut]))


def test_random_damage_never_escapes(make_module):
    module, chance = make_module("a", "b"), Random(1)
    for _ in range(1000):
        damaged = bytearray(module)
        damaged[chance.randrange(len(module))] ^= chance.randrange(256)
        damaged[chance.randrange(64)] ^= chance.randrange(256)
        try:
            list(dependencies(bytes(damaged)))
        except IntegrityError:
            continue


def compress(data):
    """As the program zstd does it, with a checksum."""
    return zstd.compress(data, options={zstd.CompressionParameter.checksum_flag: 1})


WISH = b"softdep=pre: crypto-crc32c libz post: ghost\0"


@pytest.fixture
def wishful(tmp_path, make_module):
    """ext4 wants whatever gives crypto-crc32c: two modules in directories of their own."""
    for name, info in {
        "fs/ext4": WISH,
        "crypto/crc32c_generic": b"alias=crypto-crc32c\0alias=crc32c\0",
        "arch/x86/crypto/crc32c-intel": b"alias=crypto_crc32c\0alias=cpu:type:x86*\0",
        "drivers/other": b"alias=crypto-crc32c\0",
    }.items():
        path = tmp_path / "kernel" / f"{name}.ko.zst"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(zstd.compress(make_module(info=info)))
    return tmp_path


def test_what_a_module_asks_for_by_what_it_does_comes_before_it(wishful):
    chosen = names(ModuleTree(wishful).select(["ext4"]))
    assert chosen == ["crc32c_intel", "crc32c_generic", "ext4"]


def test_depmods_list_of_aliases_is_believed_where_there_is_one(wishful):
    (wishful / "modules.alias").write_text(
        "# comment\nalias crypto-crc32c crc32c-generic\nalias crypto-crc32c absent\n"
        "alias crypto-* other\nbad\n"
    )
    assert names(ModuleTree(wishful).select(["ext4"])) == ["crc32c_generic", "ext4"]


def test_what_is_built_in_under_an_alias_needs_no_module(wishful):
    lines = (b"crc32c_generic.alias=crypto-crc32c", b"crc32c_generic.license=GPL", b"")
    (wishful / "modules.builtin.modinfo").write_bytes(b"\0".join(lines))
    assert names(ModuleTree(wishful).select(["ext4"])) == ["ext4"]


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (b"softdep=pre: a-b c post: d\0", ["a_b", "c"]),
        (b"softdep=post: d pre: a\0", ["a"]),
        (b"softdep=pre:\0softdep=pre: b\0", ["b"]),
        (b"softdep=a b\0", []),
        (b"softdep\0", []),
        (b"softdep=pre: \xff\0", ["\ufffd"]),
    ],
)
def test_wishes_are_read_as_modprobe_reads_them(make_module, info, expected):
    assert list(wishes(make_module(info=info))) == expected


@pytest.mark.parametrize(
    ("suffix", "pack"), [("gz", gzip.compress), ("xz", lzma.compress), ("zst", compress)]
)
@pytest.mark.parametrize("fault", ["cut", "flipped", "other", "empty", "bomb"])
def test_damage_in_packed_modules_is_told_with_their_name(
    tmp_path, make_module, suffix, pack, fault, monkeypatch
):
    monkeypatch.setattr(modules, "MODULE_MAX", 1 << 16)
    packed = bytearray(pack(make_module() + bytes(500) + Random(2).randbytes(500)))
    if fault == "flipped":
        packed[len(packed) // 2] ^= 0xFF
    spoiled = {
        "cut": bytes(packed[:-40]),
        "flipped": bytes(packed),
        "other": b"what is this",
        "empty": b"",
        "bomb": pack(bytes(1 << 20)),
    }[fault]
    (tmp_path / f"ext4.ko.{suffix}").write_bytes(spoiled)
    with pytest.raises(IntegrityError, match=r"damaged kernel module|not a kernel module"):
        ModuleTree(tmp_path).select(["ext4"])


def test_what_this_host_cannot_unpack_is_not_called_damaged(tmp_path, monkeypatch, make_module):
    (tmp_path / "ext4.ko.zst").write_bytes(compress(make_module()))
    for name in ("backports", "backports.zstd", "compression", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(HostNotReady, match="which this Python cannot unpack") as caught:
        ModuleTree(tmp_path).select(["ext4"])
    assert caught.value.hints == ("python -m pip install backports.zstd",)


def test_a_module_that_is_too_big_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(modules, "MODULE_MAX", 100)
    (tmp_path / "ext4.ko").write_bytes(bytes(101))
    with pytest.raises(IntegrityError, match=r"damaged kernel module ext4\.ko") as caught:
        ModuleTree(tmp_path).select(["ext4"])
    assert "more than" in (caught.value.cause or "")


def test_modules_that_need_each_other_are_loaded_once(tmp_path, make_module):
    (tmp_path / "a.ko").write_bytes(make_module("b"))
    (tmp_path / "b.ko").write_bytes(make_module("a"))
    assert names(ModuleTree(tmp_path).select(["a"])) == ["b", "a"]


def test_an_endless_chain_of_modules_is_refused(tmp_path, make_module):
    for number in range(2000):
        (tmp_path / f"m{number}.ko").write_bytes(make_module(f"m{number + 1}"))
    with pytest.raises(IntegrityError, match="without end"):
        ModuleTree(tmp_path).select(["m0"])


@pytest.mark.parametrize("name", ["a b", "a\nb", "\u202ea", "a.b", "x" * 101])
def test_names_that_no_kernel_has_are_not_taken(tmp_path, make_module, name):
    (tmp_path / f"{name}.ko").write_bytes(make_module())
    assert ModuleTree(tmp_path).select([name]) == []


def test_directories_and_dangling_links_are_no_modules(tmp_path):
    (tmp_path / "ext4.ko").mkdir()
    (tmp_path / "virtio_net.ko").symlink_to("nowhere")
    assert ModuleTree(tmp_path).select(["ext4", "virtio_net"]) == []


def test_a_list_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(modules, "_LIST_MAX", 10)
    (tmp_path / "modules.builtin").write_text("kernel/fs/ext4/ext4.ko\n")
    with pytest.raises(IntegrityError, match=r"modules\.builtin"):
        ModuleTree(tmp_path)
