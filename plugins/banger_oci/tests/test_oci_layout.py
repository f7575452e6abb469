from __future__ import annotations

import asyncio
import json
import os

import pytest
from oci_archives import Blob, sha256
from oci_layouts import BASE, FOREIGN, HOST, LayoutMaker, layers, plain, simple_layout

from banger_core.api import (
    BangerError,
    HostileInput,
    ImageRef,
    IntegrityError,
    NotFound,
    UsageProblem,
)
from banger_core.testing.contracts import ImageSourceContract
from banger_oci.image import OciImages
from banger_oci.local import split_local


def resolve(cx, rest, platform=""):
    return asyncio.run(OciImages().resolve(ImageRef("oci-layout", str(rest), platform), cx))


def fetch(cx, pin):
    asyncio.run(OciImages().fetch(pin, cx))


def entries(cx, pin):
    with OciImages().layers(pin, cx) as opened:
        return [
            [
                (entry.path, str(entry.kind), b"".join(map(bytes, entry.data or ())))
                for entry in layer.entries()
            ]
            for layer in opened
        ]


@pytest.fixture
def cx(fake_context):
    return fake_context


@pytest.fixture
def maker(tmp_path):
    return LayoutMaker(tmp_path / "images")


class TestContract(ImageSourceContract):
    make = OciImages
    ref = "oci-layout://images:1.0"
    missing = "oci-layout://images:2.0"

    @pytest.fixture
    def cx(self, cx, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        simple_layout(tmp_path / "images")
        return cx


def test_an_image_comes_as_it_lies_there(cx, maker):
    descriptor = maker.image(User="app", WorkingDir="/srv", Labels={"a": "b"})
    maker.add(descriptor, "1.0")
    pin = resolve(cx, maker.root)
    assert (pin.source, pin.digest, pin.architecture) == ("oci", descriptor["digest"], HOST)
    assert pin.ref == f"oci-layout://{maker.root}"
    assert (pin.config.user, pin.config.working_dir) == ("app", "/srv")
    assert pin.config.labels == {"a": "b"}
    fetch(cx, pin)
    assert entries(cx, pin) == [
        [
            (b".", "directory", b""),
            (b"etc", "directory", b""),
            (b"etc/hostname", "file", b"one\n"),
            (b"old", "file", b"x"),
        ],
        [
            (b"etc/hostname", "file", b"two\n"),
            (b"old", "whiteout", b""),
            (b"link", "symlink", b""),
        ],
    ]


def test_a_fetched_image_does_not_need_its_directory_any_more(cx, maker):
    maker.add(maker.image())
    pin = resolve(cx, maker.root)
    fetch(cx, pin)
    maker.root.rename(maker.root.with_name("gone"))
    fetch(cx, pin)
    assert len(entries(cx, pin)) == 2


@pytest.mark.parametrize(
    ("tags", "asked", "found"),
    [
        (["a"], "", 0),
        ([""], "", 0),
        (["a", "b"], "b", 1),
        (["a", ""], "a", 0),
        (["1.0", "1.0.1"], "1.0", 0),
    ],
)
def test_a_tag_names_one_of_several(cx, maker, tags, asked, found):
    made = [maker.image(A=str(number)) for number in range(len(tags))]
    for descriptor, tag in zip(made, tags, strict=True):
        maker.add(descriptor, tag)
    pin = resolve(cx, f"{maker.root}:{asked}" if asked else maker.root)
    assert pin.digest == made[found]["digest"]


def test_platforms_of_one_tag_are_one_image(cx, maker):
    ours, theirs = maker.image(), maker.image(architecture=FOREIGN)
    maker.add(theirs, "1.0", FOREIGN)
    maker.add(ours, "1.0", HOST)
    assert resolve(cx, f"{maker.root}:1.0").digest == ours["digest"]
    assert resolve(cx, maker.root, f"linux/{FOREIGN}").digest == theirs["digest"]


def test_an_index_in_the_index_is_followed(cx, maker):
    ours, theirs = maker.image(), maker.image(architecture=FOREIGN)
    platforms = [
        {**ours, "platform": {"os": "linux", "architecture": HOST}},
        {**theirs, "platform": {"os": "linux", "architecture": FOREIGN}},
    ]
    maker.add(maker.index(*platforms), "1.0")
    pin = resolve(cx, maker.root)
    assert pin.digest == ours["digest"]
    foreign = resolve(cx, maker.root, FOREIGN)
    assert (foreign.digest, foreign.architecture) == (theirs["digest"], FOREIGN)


REFUSED = {
    "an unknown tag": (":2.0", NotFound, "there is: 1.0, other"),
    "no tag among several": ("", UsageProblem, "there is: 1.0, other"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_clear_is_refused_with_the_tags(cx, maker, case):
    which, kind, cause = REFUSED[case]
    maker.add(maker.image(), "1.0")
    maker.add(maker.image(A="2"), "other")
    with pytest.raises(kind) as caught:
        resolve(cx, f"{maker.root}{which}")
    assert caught.value.cause == cause
    assert f"oci-layout://{maker.root}:1.0" in caught.value.hints


def test_two_images_of_one_name_are_refused(cx, maker):
    maker.add(maker.image(), "1.0")
    maker.add(maker.image(A="2"), "1.0")
    with pytest.raises(UsageProblem, match=r"holds 2 images named '1\.0'"):
        resolve(cx, f"{maker.root}:1.0")


def test_an_image_of_another_platform_only_is_refused(cx, maker):
    maker.add(maker.image(architecture=FOREIGN), "1.0")
    with pytest.raises(NotFound) as caught:
        resolve(cx, maker.root)
    assert f"linux/{FOREIGN}" in caught.value.cause


def test_a_missing_path_says_what_was_looked_for(cx, tmp_path):
    with pytest.raises(NotFound) as caught:
        resolve(cx, f"{tmp_path}/none:1.0")
    assert caught.value.summary == f"no directory named '{tmp_path}/none'"
    assert caught.value.cause == f"looked for {tmp_path}/none:1.0 and {tmp_path}/none"


def test_a_file_is_pointed_to_the_other_scheme(cx, tmp_path):
    (tmp_path / "saved.tar").write_bytes(b"")
    with pytest.raises(UsageProblem) as caught:
        resolve(cx, tmp_path / "saved.tar")
    assert caught.value.hints == (f"docker-archive://{tmp_path}/saved.tar",)


def test_a_directory_without_index_is_no_layout(cx, tmp_path):
    with pytest.raises(UsageProblem, match="is no OCI layout"):
        resolve(cx, tmp_path)


@pytest.mark.parametrize(
    ("existing", "asked", "meant"),
    [
        ("a", "a:1", ("a", "1")),
        ("a:1", "a:1", ("a:1", "")),
        ("a:1", "a:1:2", ("a:1", "2")),
        ("a:b/c", "a:b/c:d", ("a:b/c", "d")),
        ("a", "a:ghcr.io/org/app:1", ("a", "ghcr.io/org/app:1")),
        (None, "a:b/c", ("a:b/c", "")),
        (None, "a:b/c:d:e", ("a:b/c:d", "e")),
    ],
)
def test_paths_may_hold_colons(tmp_path, existing, asked, meant):
    if existing:
        (tmp_path / existing).mkdir(parents=True)
    local = split_local(ImageRef("oci-layout", f"{tmp_path}/{asked}"))
    assert (str(local.path.relative_to(tmp_path)), local.which) == meant


@pytest.mark.parametrize("rest", ["", ":1.0", "a\0b"])
def test_a_reference_without_a_path_is_refused(rest):
    with pytest.raises(UsageProblem, match="names no file"):
        split_local(ImageRef("oci-layout", rest))


def test_home_and_relative_paths_are_understood(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for text in ("~/a", "a", "./a"):
        assert split_local(ImageRef("oci-layout", text)).path == tmp_path / "a"


@pytest.mark.parametrize(
    ("base", "which", "name"),
    [
        ("alpine", "", "alpine"),
        ("alpine", "3.19", "alpine:3.19"),
        ("My Images", "", "my-images"),
        ("ü", "", "image"),
        ("a.oci.tar.gz", "x y", "a:x-y"),
    ],
)
def test_names_are_made_of_directory_and_tag(tmp_path, base, which, name):
    (tmp_path / base).mkdir()
    rest = f"{tmp_path}/{base}:{which}" if which else f"{tmp_path}/{base}"
    assert OciImages().name(ImageRef("oci-layout", rest)) == name


# --- nobody vouches for the directory ------------------------------------------------------------


def _secret(maker):
    outside = maker.root.parent / "outside"
    outside.write_bytes(layers()[0].packed)
    return outside


def _link(maker, blob):
    blob.unlink()
    blob.symlink_to(_secret(maker))


def _fifo(maker, blob):
    blob.unlink()
    os.mkfifo(blob)


def _directory(maker, blob):
    blob.unlink()
    blob.mkdir()


def _device(maker, blob):
    blob.unlink()
    blob.symlink_to("/dev/zero")


def _linked_directory(maker, blob):
    real = maker.root.parent / "blobs"
    (maker.root / "blobs").rename(real)
    (maker.root / "blobs").symlink_to(real)


ODD = {
    "a link": (_link, "a symbolic link"),
    "a FIFO": (_fifo, "a FIFO"),
    "a directory": (_directory, "a directory"),
    "a link to a device": (_device, "a symbolic link"),
    "a linked directory": (_linked_directory, "blobs is a symbolic link"),
}


@pytest.mark.parametrize("case", ODD)
def test_only_plain_files_inside_are_opened(cx, maker, case):
    spoil, cause = ODD[case]
    maker.add(maker.image())
    pin = resolve(cx, maker.root)
    spoil(maker, maker.path(layers()[0].digest))
    with pytest.raises(HostileInput) as caught:
        fetch(cx, pin)
    assert cause in caught.value.cause


@pytest.mark.parametrize("case", ["a link", "a FIFO", "a directory"])
def test_the_index_is_a_plain_file_too(cx, maker, case):
    maker.add(maker.image())
    ODD[case][0](maker, maker.root / "index.json")
    with pytest.raises(HostileInput):
        resolve(cx, maker.root)


def _shorter(data):
    return data[:-1]


def _longer(data):
    return data + b"x"


def _changed(data):
    return data[:-1] + bytes([data[-1] ^ 1])


@pytest.mark.parametrize("spoil", [_shorter, _longer, _changed])
@pytest.mark.parametrize("what", ["layer", "config", "manifest"])
def test_content_that_is_not_what_was_announced_is_refused(cx, maker, what, spoil, monkeypatch):
    monkeypatch.setattr("banger_oci.download.PAUSES", ())
    descriptor = maker.add(maker.image())
    manifest = json.loads(maker.path(descriptor["digest"]).read_bytes())
    target = {
        "layer": manifest["layers"][0],
        "config": manifest["config"],
        "manifest": descriptor,
    }[what]
    path = maker.path(target["digest"])
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(BangerError) as caught:
        fetch(cx, resolve(cx, maker.root))
    assert isinstance(caught.value, IntegrityError | HostileInput)
    assert not (cx.cache_dir / "blobs" / "sha256" / target["digest"][7:]).exists()


def test_a_missing_blob_is_named(cx, maker):
    maker.add(maker.image())
    pin = resolve(cx, maker.root)
    maker.path(layers()[1].digest).unlink()
    with pytest.raises(NotFound, match=layers()[1].digest) as caught:
        fetch(cx, pin)
    assert caught.value.cause == f"{maker.root} is not complete"


def test_a_layout_that_vanishes_in_between_is_named(cx, maker):
    maker.add(maker.image())
    pin = resolve(cx, maker.root)
    maker.root.rename(maker.root.with_name("gone"))
    with pytest.raises(NotFound) as caught:
        fetch(cx, pin)
    assert caught.value.cause == f"{maker.root} is not complete"


def test_indexes_within_indexes_without_end_are_refused(cx, maker):
    inner = maker.index()
    for _ in range(6):
        inner = maker.index({**inner, "platform": {"os": "linux", "architecture": HOST}})
    maker.add(inner)
    with pytest.raises(HostileInput, match="leads nowhere"):
        resolve(cx, maker.root)


BROKEN = {
    "no JSON": b"{",
    "a list": b"[]",
    "a manifest": json.dumps({"schemaVersion": 2, "config": {}, "layers": []}).encode(),
    "too long": b" " * ((4 << 20) + 1),
}


@pytest.mark.parametrize("case", BROKEN)
def test_an_index_that_is_none_is_refused(cx, maker, case):
    (maker.root / "index.json").write_bytes(BROKEN[case])
    with pytest.raises(BangerError) as caught:
        resolve(cx, maker.root)
    assert caught.value.summary
    assert caught.value.code in ("hostile-input", "usage")


def test_an_empty_index_holds_no_image(cx, maker):
    (maker.root / "index.json").write_text('{"schemaVersion": 2, "manifests": []}')
    with pytest.raises(UsageProblem, match="holds no image"):
        resolve(cx, maker.root)


def test_a_wrong_media_type_does_no_harm(cx, maker):
    blobs = [plain(BASE), Blob.of(BASE)]
    maker.add(maker.image(blobs, media_type="application/vnd.oci.image.layer.v1.tar+zstd"))
    pin = resolve(cx, maker.root)
    fetch(cx, pin)
    first, second = entries(cx, pin)
    assert first == second


def test_a_layer_that_unpacks_to_something_else_is_the_images_fault(cx, maker):
    lying = layers()[0]
    lying.diff_id = sha256(b"something else")
    maker.add(maker.image([lying]))
    pin = resolve(cx, maker.root)
    fetch(cx, pin)
    with pytest.raises(IntegrityError) as caught:
        entries(cx, pin)
    assert "cannot be used" in caught.value.summary
    assert (cx.cache_dir / "blobs" / "sha256" / lying.digest[7:]).exists()
