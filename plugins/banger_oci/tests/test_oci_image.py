from __future__ import annotations

import asyncio
import json
import subprocess

import pytest
from oci_archives import Blob, sha256
from oci_layouts import BASE, FOREIGN, HOST, LayoutMaker, layers, plain, simple_layout
from oci_registries import Server

from banger_core.api import (
    HostileInput,
    HostNotReady,
    ImageRef,
    IntegrityError,
    NotFound,
    Unreachable,
    UsageProblem,
)
from banger_core.rootfs.build import build_rootfs
from banger_core.testing.context import FakeContext
from banger_core.testing.contracts import ImageSourceContract
from banger_oci import image
from banger_oci.image import OciImages
from banger_oci.layers import tidy

MIB = 1 << 20


@pytest.fixture
def server(tmp_path):
    one = Server(tmp_path / "registry")
    yield one
    one.stop()


@pytest.fixture
def cx(fake_context):
    return fake_context


@pytest.fixture
def maker(tmp_path):
    return simple_layout(tmp_path / "images")


def resolve(cx, text, platform=""):
    scheme, _, rest = text.partition("://")
    return asyncio.run(OciImages().resolve(ImageRef(scheme, rest, platform), cx))


def fetch(cx, pin):
    asyncio.run(OciImages().fetch(pin, cx))


def pulled(cx, text, platform=""):
    pin = resolve(cx, text, platform)
    fetch(cx, pin)
    return pin


def read(cx, pin):
    with OciImages().layers(pin, cx) as opened:
        return [[entry.path for entry in layer.entries()] for layer in opened]


def prune(cx, keep=0, *, dry_run=False):
    gone = asyncio.run(OciImages().prune(cx, keep=keep, dry_run=dry_run))
    return {item.name for item in gone}


NAMES = [[b".", b"etc", b"etc/hostname", b"old"], [b"etc/hostname", b"old", b"link"]]


class TestContract(ImageSourceContract):
    make = OciImages

    @pytest.fixture(autouse=True)
    def _refs(self, server, maker, monkeypatch):
        server.push(maker.root, "1.0", "app:1.0")
        monkeypatch.setattr(type(self), "ref", f"oci://{server.host}/app:1.0", raising=False)
        monkeypatch.setattr(type(self), "missing", f"oci://{server.host}/app:2.0", raising=False)


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("python", "python:latest"),
        ("python:3.12", "python:3.12"),
        ("docker.io/library/python:3.12", "python:3.12"),
        ("index.docker.io/library/python:3.12", "python:3.12"),
        ("org/app", "org/app:latest"),
        ("ghcr.io/org/app:1", "ghcr.io/org/app:1"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        (f"python:3@{sha256(b'')}", f"python@{sha256(b'')}"),
    ],
)
def test_different_ways_to_write_a_reference_give_one_name(text, name):
    for scheme in ("", "oci"):
        assert OciImages().name(ImageRef(scheme, text)) == name


@pytest.mark.parametrize("text", ["", "Python", "a b", "https://x.y/z", "app:", "app@sha256:0"])
def test_what_is_no_reference_is_refused_before_anybody_is_asked(cx, text):
    with pytest.raises(UsageProblem):
        OciImages().name(ImageRef("oci", text))
    with pytest.raises(UsageProblem):
        resolve(cx, f"oci://{text}")


# --- a real registry -----------------------------------------------------------------------------


def contents(disk, path):
    command = ["debugfs", "-R", f"cat {path}", str(disk)]
    return subprocess.run(command, check=True, capture_output=True).stdout


def listed(disk, path):
    command = ["debugfs", "-R", f"ls -p {path}", str(disk)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return {line.split("/")[5] for line in told.splitlines() if "/" in line}


PUSHED = {
    "gzip": (),
    "zstd": ("--dest-compress", "--dest-compress-format", "zstd"),
    "Docker's media types": ("--format", "v2s2"),
}


@pytest.mark.parametrize("case", PUSHED)
def test_a_pull_becomes_a_file_system(cx, server, maker, tmp_path, case):
    server.push(maker.root, "1.0", "app:1.0", *PUSHED[case])
    pin = pulled(cx, f"oci://{server.host}/app:1.0")
    assert pin.ref == f"oci://{server.host}/app:1.0"
    assert pin.architecture == HOST
    packed = [layer["media_type"].rpartition("+")[2] for layer in pin.data["layers"]]
    assert ("zstd" in packed) == (case == "zstd")
    for layer in pin.data["layers"]:
        size = layer["size"]
        assert any(what.endswith(layer["digest"][7:19]) for what, _, _ in cx.reports)
        assert size in {done for _, done, total in cx.reports if total == size}
    disk = tmp_path / "disk"
    build_rootfs(
        lambda: OciImages().layers(pin, cx), disk, size=64 * MIB, identity=pin.digest.encode()
    )
    assert contents(disk, "/etc/hostname") == b"two\n"
    assert listed(disk, "/") >= {"etc", "link"}
    assert "old" not in listed(disk, "/")


def test_other_tools_read_the_cache(cx, server, maker, tmp_path):
    server.push(maker.root, "1.0", "app:1.0")
    pin = pulled(cx, f"oci://{server.host}/app:1.0")
    copied = f"dir:{tmp_path}/copied"
    command = ["skopeo", "--insecure-policy", "copy", f"oci:{cx.cache_dir}:{pin.name}", copied]
    subprocess.run(command, check=True, capture_output=True)
    for layer in pin.data["layers"]:
        assert (tmp_path / "copied" / layer["digest"][7:]).stat().st_size == layer["size"]


def test_an_index_gives_the_image_of_the_platform(cx, server, tmp_path):
    maker = LayoutMaker(tmp_path / "platforms")
    ours, theirs = maker.image(), maker.image(architecture=FOREIGN)
    entries = [
        {**one, "platform": {"os": "linux", "architecture": architecture}}
        for one, architecture in ((theirs, FOREIGN), (ours, HOST))
    ]
    maker.add(maker.index(*entries), "1.0")
    server.push(maker.root, "1.0", "app:1.0", "--all")
    assert resolve(cx, f"oci://{server.host}/app:1.0").digest == ours["digest"]
    foreign = resolve(cx, f"oci://{server.host}/app:1.0", FOREIGN)
    assert (foreign.digest, foreign.architecture) == (theirs["digest"], FOREIGN)


def test_a_platform_that_is_not_there_is_named_with_the_image(cx, server, maker):
    server.push(maker.root, "1.0", "app:1.0")
    with pytest.raises(NotFound) as caught:
        resolve(cx, f"oci://{server.host}/app:1.0", f"linux/{FOREIGN}")
    assert caught.value.summary == f"{server.host}/app:1.0 is not there for linux/{FOREIGN}"
    assert caught.value.cause == f"there is: linux/{HOST}"


def test_an_unknown_tag_is_not_found(cx, server, maker):
    server.push(maker.root, "1.0", "app:1.0")
    with pytest.raises(NotFound, match="app:2"):
        resolve(cx, f"oci://{server.host}/app:2")


def test_what_has_a_digest_and_is_here_needs_no_network(cx, server, maker):
    server.push(maker.root, "1.0", "app:1.0")
    pin = pulled(cx, f"oci://{server.host}/app:1.0")
    server.stop()
    again = pulled(cx, f"oci://{server.host}/app@{pin.digest}")
    assert again.digest == pin.digest
    assert read(cx, again) == NAMES


def test_the_digest_of_an_index_that_is_here_needs_no_network_either(cx, server, tmp_path):
    maker = LayoutMaker(tmp_path / "platforms")
    entry = {**maker.image(), "platform": {"os": "linux", "architecture": HOST}}
    index = maker.add(maker.index(entry), "1.0")
    server.push(maker.root, "1.0", "app:1.0", "--all")
    pin = pulled(cx, f"oci://{server.host}/app:1.0")
    server.stop()
    assert resolve(cx, f"oci://{server.host}/app@{index['digest']}").digest == pin.digest


def test_a_tag_is_asked_for_each_time(cx, server, maker):
    server.push(maker.root, "1.0", "app:1.0")
    first = resolve(cx, f"oci://{server.host}/app:1.0")
    maker.add(maker.image([plain(BASE)]), "2.0")
    server.push(maker.root, "2.0", "app:1.0")
    assert resolve(cx, f"oci://{server.host}/app:1.0").digest != first.digest


def test_a_pin_fetches_what_it_says_though_the_tag_moved(cx, server, maker):
    server.push(maker.root, "1.0", "app:1.0")
    pin = resolve(cx, f"oci://{server.host}/app:1.0")
    maker.add(maker.image([plain(BASE)]), "2.0")
    server.push(maker.root, "2.0", "app:1.0")
    fetch(cx, pin)
    assert read(cx, pin) == NAMES


# --- the cache -----------------------------------------------------------------------------------


def local(maker):
    return f"oci-layout://{maker.root}"


def test_layers_that_were_not_fetched_say_what_to_do(cx, maker):
    pin = resolve(cx, local(maker))
    with (
        pytest.raises(HostNotReady, match="not in the cache any more") as caught,
        OciImages().layers(pin, cx),
    ):
        pass
    assert caught.value.hints == (f"banger image pull {pin.ref}",)


def spoiled(cx, digest, data):
    path = cx.cache_dir / "blobs" / "sha256" / digest[7:]
    path.write_bytes(data)
    return path


def damages(packed):
    return {
        "another content": Blob.of(BASE + bytes(512)).packed,
        "a flipped bit": packed[:-5] + bytes([packed[-5] ^ 1]) + packed[-4:],
        "a flipped bit in the middle": packed[:60] + bytes([packed[60] ^ 4]) + packed[61:],
        "zeros": bytes(len(packed)),
        "no gzip any more": b"x" + packed[1:],
    }


@pytest.mark.parametrize("case", damages(b"x" * 100))
def test_a_damaged_layer_is_found_removed_and_fetched_again(cx, maker, case):
    pin = pulled(cx, local(maker))
    blob = layers()[0]
    data = damages(blob.packed)[case]
    data = data[: len(blob.packed)].ljust(len(blob.packed), b"\0")
    path = spoiled(cx, blob.digest, data)
    with pytest.raises(IntegrityError, match="was damaged in the cache") as caught:
        read(cx, pin)
    assert caught.value.hints == ("run the same command again: the layer is fetched anew",)
    assert not path.exists()
    fetch(cx, pin)
    assert read(cx, pin) == NAMES


def test_a_truncated_layer_counts_as_absent(cx, maker):
    pin = pulled(cx, local(maker))
    spoiled(cx, layers()[0].digest, b"x")
    fetch(cx, pin)
    assert read(cx, pin) == NAMES


def test_a_damaged_document_is_fetched_again(cx, server, maker):
    server.push(maker.root, "1.0", "app:1.0")
    pin = pulled(cx, f"oci://{server.host}/app:1.0")
    for key in ("manifest", "config"):
        spoiled(cx, pin.data[key]["digest"], b" " * pin.data[key]["size"])
    assert resolve(cx, f"oci://{server.host}/app@{pin.digest}").config == pin.config


def test_a_malformed_layer_is_the_images_fault_and_stays(cx, tmp_path):
    maker = LayoutMaker(tmp_path / "images")
    bad = Blob.of(b"no archive" * 200)
    maker.add(maker.image([bad]))
    pin = pulled(cx, local(maker))
    with pytest.raises(HostileInput, match="cannot be used") as caught:
        read(cx, pin)
    assert bad.digest[:19] in caught.value.cause
    assert (cx.cache_dir / "blobs" / "sha256" / bad.digest[7:]).exists()


def test_readers_that_are_left_open_are_closed(cx, maker):
    pin = pulled(cx, local(maker))
    with OciImages().layers(pin, cx) as opened:
        readers = [layer.entries() for layer in opened]
        for reader in readers:
            next(reader)
    for reader in readers:
        assert next(reader, None) is None


def test_what_was_fetched_stays_until_it_was_read(cx, maker):
    pin = pulled(cx, local(maker))
    assert prune(cx) == set()
    assert read(cx, pin) == NAMES
    everything = {pin.digest, pin.data["config"]["digest"]}
    everything |= {layer["digest"] for layer in pin.data["layers"]}
    assert prune(cx, dry_run=True) == everything
    assert prune(cx, dry_run=True) == prune(cx)
    assert prune(cx) == set()
    fetch(cx, pin)
    assert read(cx, pin) == NAMES


def test_layers_that_are_being_read_stay(cx, maker):
    pin = pulled(cx, local(maker))
    read(cx, pin)
    with OciImages().layers(pin, cx) as opened:
        held = {layer["digest"] for layer in pin.data["layers"]}
        assert not prune(cx) & held
        assert [[entry.path for entry in layer.entries()] for layer in opened] == NAMES


def test_after_an_error_layers_stay_for_another_try(cx, maker):
    pin = pulled(cx, local(maker))
    with pytest.raises(ZeroDivisionError), OciImages().layers(pin, cx):
        raise ZeroDivisionError
    assert prune(cx) == set()
    assert read(cx, pin) == NAMES
    assert prune(cx)


def test_a_hold_that_nobody_comes_for_ends(cx, maker, monkeypatch):
    monkeypatch.setattr(image, "_HELD", 0.0)

    async def pull():
        pin = await OciImages().resolve(ImageRef.parse(local(maker)), cx)
        await OciImages().fetch(pin, cx)
        deadline = asyncio.get_running_loop().time() + 60
        while not await OciImages().prune(cx, keep=0, dry_run=False):
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.01)

    asyncio.run(pull())


def test_a_pull_trims_the_cache_but_not_what_it_uses(maker, tmp_path):
    cx = FakeContext(tmp_path / "context", {"cache_size": 0})
    first = pulled(cx, local(maker))
    read(cx, first)
    other = LayoutMaker(tmp_path / "other")
    other.add(other.image([plain(BASE)]))
    second = pulled(cx, local(other))
    left = {path.name for path in (cx.cache_dir / "blobs" / "sha256").iterdir()}
    assert left == {
        second.digest[7:],
        second.data["config"]["digest"][7:],
        second.data["layers"][0]["digest"][7:],
    }
    assert read(cx, second) == NAMES[:1]


def test_a_failed_pull_holds_nothing(cx, maker):
    pin = resolve(cx, local(maker))
    maker.path(layers()[1].digest).unlink()
    with pytest.raises(NotFound):
        fetch(cx, pin)
    assert prune(cx)


def test_the_pin_says_about_how_large_the_image_is(cx, tmp_path):
    maker = LayoutMaker(tmp_path / "images")
    maker.add(maker.image([plain(BASE)], media_type="application/vnd.oci.image.layer.v1.tar"), "a")
    maker.add(maker.image([Blob.of(BASE)]), "b")
    assert resolve(cx, f"{local(maker)}:a").size == len(BASE)
    assert resolve(cx, f"{local(maker)}:b").size == len(Blob.of(BASE).packed) * 5 // 2


def test_a_closed_registry_is_said_to_be_unreachable(cx, server, monkeypatch):
    server.stop()
    monkeypatch.setattr("banger_oci.patience.Patience.pause", lambda *_: 0.0)
    with pytest.raises(Unreachable, match=server.host):
        resolve(cx, f"oci://{server.host}/app:1.0")


def test_a_configuration_that_is_too_long_is_not_fetched(cx, tmp_path):
    maker = LayoutMaker(tmp_path / "images")
    entry = maker.image()
    manifest = json.loads(maker.path(entry["digest"]).read_bytes())
    manifest["config"]["size"] = 1 << 30
    maker.add(maker.blob(manifest, entry["mediaType"]))
    with pytest.raises(HostileInput, match="malformed"):
        resolve(cx, local(maker))


@pytest.mark.parametrize(
    ("path", "tidied"),
    [
        (b"a", b"a"),
        (b"./a/", b"a"),
        (b"/a//", b"a"),
        (b"././/a", b"a"),
        (b"./", b"."),
        (b"", b"."),
        (b".", b"."),
        (b".a", b".a"),
        (b"..", b".."),
        (b"./../a", b"../a"),
    ],
)
def test_paths_lose_what_archives_write_around_them(path, tidied):
    assert tidy(path) == tidied
