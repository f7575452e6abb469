from __future__ import annotations

import gzip
import lzma
from random import Random

import pytest

from banger_core.errors import IntegrityError
from banger_core.guest.modules import ModuleTree, dependencies


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


def names(modules):
    return [module.name for module in modules]


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
