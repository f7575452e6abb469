from __future__ import annotations

import asyncio
import io
import lzma
import platform
import tarfile

import pytest

from banger_core.api import HostileInput, IntegrityError, NoSpace, NotFound, Unreachable
from banger_core.testing.contracts.kernel import KernelProviderContract
from banger_debian.kernels import DebianKernels

RELEASE = "6.1.0-99-cloud-amd64"
PACKAGE = f"linux-image-{RELEASE}"

pytestmark = pytest.mark.usefixtures("on_amd64")


@pytest.fixture
def on_amd64(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


@pytest.fixture
def archive(mirror, kernel_files):
    """The base has an old kernel, security the new one."""
    mirror.publish(
        "bookworm",
        [
            mirror.deb("linux-image-cloud-amd64", "6.1.9-1", {}, depends=f"{PACKAGE} (= 6.1.9-1)"),
            mirror.deb(PACKAGE, "6.1.9-1", {"boot/old": b"old"}),
        ],
    )
    mirror.publish("bookworm-updates")
    meta = {"prefix": "debian-security", "depends": f"{PACKAGE} (= 6.1.10-1), other"}
    kernel = mirror.deb(
        PACKAGE,
        "6.1.10-1",
        kernel_files[1],
        prefix="debian-security",
        links=[(f"lib/modules/{RELEASE}/build", "/usr/src")],
    )
    mirror.publish(
        "bookworm-security",
        [mirror.deb("linux-image-cloud-amd64", "6.1.10-1", {}, **meta), kernel],
    )
    return mirror


class TestContract(KernelProviderContract):
    make = DebianKernels
    name = "bookworm-cloud"

    @pytest.fixture
    def cx(self, archive, cx):
        return cx


def materialise(cx, into):
    async def work():
        pin = await DebianKernels().resolve("bookworm-cloud", cx)
        return pin, await DebianKernels().materialise(pin, into, cx)

    into.mkdir(mode=0o700)
    return asyncio.run(work())


def test_the_newest_kernel_is_unpacked_for_a_direct_boot(cx, archive, kernel_files, tmp_path):
    pin, files = materialise(cx, tmp_path / "k")
    assert pin.version == RELEASE
    assert pin.data["version"] == "6.1.10-1"
    assert pin.source.startswith(f"{archive.url}/debian-security/pool/")
    assert files.vmlinux.read_bytes() == kernel_files[0]
    assert files.config.read_bytes() == b"CONFIG_EXT4_FS=y\n"
    found = {str(path.relative_to(tmp_path / "k")) for path in (tmp_path / "k").rglob("*.*")}
    assert found == {
        "modules/kernel/drivers/virtio/virtio.ko",
        "modules/kernel/fs/overlay.ko.xz",
        "modules/modules.order",
    }
    for path in (tmp_path / "k").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_names_are_listed_without_asking_anybody(cx, archive):
    entries = asyncio.run(DebianKernels().available(cx))
    names = [entry.name for entry in entries]
    assert len(names) == 15
    assert names[3:9] == [
        "bookworm-cloud",
        "bookworm-generic",
        "bookworm-rt",
        "trixie-cloud",
        "trixie-generic",
        "trixie-rt",
    ]
    assert {(entry.distro, entry.architecture) for entry in entries} == {("debian", "amd64")}
    assert not archive.requests


FLAVOURS = [
    ("bookworm-cloud", "linux-image-cloud-amd64", "6.1.0-99-cloud-amd64"),
    ("bookworm-generic", "linux-image-amd64", "6.1.0-99-amd64"),
    ("bookworm-rt", "linux-image-rt-amd64", "6.1.0-99-rt-amd64"),
    ("trixie-generic", "linux-image-amd64", "6.12.1+deb13-amd64"),
    ("sid-cloud", "linux-image-cloud-amd64", "7.0-rc3-cloud-amd64"),
]


@pytest.mark.parametrize(("name", "metapackage", "release"), FLAVOURS)
def test_every_flavour_is_found_through_its_metapackage(name, metapackage, release, cx, mirror):
    stanzas = []
    # The name alone leads to the metapackage: those beside it must not be taken
    for _, other, version in FLAVOURS:
        package = f"linux-image-{version}"
        stanzas.append(mirror.deb(package, "1-1", {"boot/x": version.encode()}))
        if other != metapackage:
            stanzas.append(mirror.deb(other, "1-1", {}, depends=f"{package} (= 1-1)"))
    depends = f"linux-image-{release} (= 1-1)"
    stanzas.append(mirror.deb(metapackage, "2-1", {}, depends=depends))
    suite = name.partition("-")[0]
    mirror.publish_all(stanzas, suite)
    pin = asyncio.run(DebianKernels().resolve(name, cx))
    assert (pin.name, pin.version, pin.distro) == (name, release, "debian")
    assert f"linux-image-{release}" in pin.source


def test_a_metapackage_of_a_version_that_is_gone_is_not_found(cx, mirror):
    meta = mirror.deb("linux-image-cloud-amd64", "2", {}, depends=f"{PACKAGE} (= 2)")
    mirror.publish_all([meta, mirror.deb(PACKAGE, "1", {"boot/x": b"x"})])
    with pytest.raises(NotFound, match=PACKAGE):
        asyncio.run(DebianKernels().resolve("bookworm-cloud", cx))


def test_an_arm64_host_is_offered_kernels_for_arm64(cx, monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    entries = asyncio.run(DebianKernels().available(cx))
    assert {entry.architecture for entry in entries} == {"arm64"}


@pytest.mark.parametrize("name", ["bookworm", "bookworm-cluod", "../x-cloud", "", "x-cloud-y"])
def test_unknown_names_are_not_found_without_asking_anybody(name, cx, archive):
    with pytest.raises(NotFound, match="no kernel named"):
        asyncio.run(DebianKernels().resolve(name, cx))
    assert not archive.requests


def test_offline_the_cached_kernel_serves(cx, archive, tmp_path):
    pin, _ = materialise(cx, tmp_path / "k1")
    archive.stop()
    (cx.cache_dir / "releases").rename(tmp_path / "gone")
    again, files = materialise(cx, tmp_path / "k2")
    assert again == pin
    assert files.vmlinux.is_file()


def test_offline_without_the_package_is_unreachable(cx, archive, tmp_path):
    asyncio.run(DebianKernels().resolve("bookworm-cloud", cx))
    archive.stop()
    (cx.cache_dir / "releases").rename(tmp_path / "gone")
    with pytest.raises(Unreachable):
        asyncio.run(DebianKernels().resolve("bookworm-cloud", cx))


def test_a_metapackage_that_leads_elsewhere_is_refused(cx, mirror):
    mirror.publish_all([mirror.deb("linux-image-cloud-amd64", "9", {}, depends="busybox")])
    with pytest.raises(HostileInput, match="leads to no kernel"):
        asyncio.run(DebianKernels().resolve("bookworm-cloud", cx))


def forged(mirror, *names, content=b"module"):
    """Publish a kernel package whose archive has these names."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    data = lzma.compress(packed.getvalue())
    header = f"{'data.tar.xz':<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode()
    fields = {"Package": PACKAGE, "Version": "1"}
    kernel = mirror.serve(fields, b"!<arch>\n" + header + data)
    meta = mirror.deb("linux-image-cloud-amd64", "1", {}, depends=f"{PACKAGE} (= 1)")
    mirror.publish_all([meta, kernel])


TREE = f"./lib/modules/{RELEASE}/kernel"


@pytest.mark.parametrize(
    "names",
    [
        [f"{TREE}/../../../../../evil.ko"],
        [f"{TREE}/./x.ko"],
        [f"{TREE}//x.ko"],
        [f"{TREE}/a b.ko"],
        [f"{TREE}/\u202ex.ko"],
        [f"{TREE}/{'x' * 300}.ko"],
        [f"{TREE}/x.ko", f"{TREE}/x.ko"],
        [f"{TREE}/x.ko", f"{TREE}/x.ko/y.ko"],
    ],
    ids=["up", "dot", "empty", "space", "control", "long", "twice", "file-as-directory"],
)
def test_hostile_module_names_write_nothing_outside(names, cx, mirror, tmp_path):
    forged(mirror, *names)
    with pytest.raises(HostileInput):
        materialise(cx, tmp_path / "k")
    assert not list(tmp_path.rglob("evil*"))


def test_a_package_without_its_kernel_is_refused(cx, mirror, tmp_path):
    forged(mirror, f"{TREE}/x.ko")
    with pytest.raises(IntegrityError, match="is not the kernel"):
        materialise(cx, tmp_path / "k")


def test_a_full_disk_is_told_as_such(cx, archive, tmp_path, monkeypatch):
    pin = asyncio.run(DebianKernels().resolve("bookworm-cloud", cx))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("banger_debian.modules.os.fdopen", full)
    (tmp_path / "k").mkdir()
    with pytest.raises(NoSpace):
        asyncio.run(DebianKernels().materialise(pin, tmp_path / "k", cx))
