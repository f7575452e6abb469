from __future__ import annotations

import asyncio
import gzip
import json
import subprocess
import tarfile
import threading

import pytest
from backports import zstd
from oci_archives import Blob, file, header, padded, sha256, tar
from oci_layouts import (
    BASE,
    FOREIGN,
    HOST,
    TOP,
    LayoutMaker,
    configuration,
    layers,
    plain,
    save,
    simple_layout,
    write_tar,
)

from banger_core.api import (
    BangerError,
    HostileInput,
    HostNotReady,
    ImageRef,
    IntegrityError,
    Interrupted,
    NotFound,
    UsageProblem,
)
from banger_core.testing.contracts import ImageSourceContract
from banger_oci.image import OciImages
from banger_oci.members import read_contents


def resolve(cx, rest, platform=""):
    return asyncio.run(OciImages().resolve(ImageRef("docker-archive", str(rest), platform), cx))


def fetch(cx, pin):
    asyncio.run(OciImages().fetch(pin, cx))


def names(cx, pin):
    with OciImages().layers(pin, cx) as opened:
        return [[entry.path for entry in layer.entries()] for layer in opened]


@pytest.fixture
def cx(fake_context):
    return fake_context


@pytest.fixture
def saved(tmp_path):
    return tmp_path / "saved.tar"


def two():
    return [plain(BASE), plain(TOP)]


NAMES = [[b".", b"etc", b"etc/hostname", b"old"], [b"etc/hostname", b"old", b"link"]]


class TestContract(ImageSourceContract):
    make = OciImages
    ref = "docker-archive://saved.tar:app:1.0"
    missing = "docker-archive://saved.tar:app:2.0"

    @pytest.fixture
    def cx(self, cx, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        save(tmp_path / "saved.tar", [(["app:1.0"], two())])
        return cx


# --- what real tools write -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def skopeo(tmp_path_factory):
    """An archive that skopeo made of a layout with gzip layers."""
    root = tmp_path_factory.mktemp("skopeo")
    simple_layout(root / "images")
    target = root / "saved.tar"
    command = ["skopeo", "--insecure-policy", "copy", f"oci:{root}/images:1.0"]
    subprocess.run(
        [*command, f"docker-archive:{target}:ghcr.io/org/app:1.0"], check=True, capture_output=True
    )
    return target


@pytest.mark.parametrize("which", ["", ":ghcr.io/org/app:1.0"])
def test_what_skopeo_saves_is_the_image(cx, skopeo, which):
    pin = resolve(cx, f"{skopeo}{which}")
    fetch(cx, pin)
    assert names(cx, pin) == NAMES
    assert pin.config.env == ("A=1",)
    assert pin.architecture == HOST


def test_other_tools_read_it_from_the_cache(cx, skopeo):
    pin = resolve(cx, f"{skopeo}")
    fetch(cx, pin)
    command = ["skopeo", "inspect", f"oci:{cx.cache_dir}:{pin.name}"]
    told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    assert told["Layers"] == [layer["digest"] for layer in pin.data["layers"]]
    assert told["Digest"] == pin.digest


def test_the_layout_that_newer_tools_save_is_read_too(cx, tmp_path):
    target = tmp_path / "saved.tar"
    simple_layout(tmp_path / "images")
    command = ["skopeo", "--insecure-policy", "copy", f"oci:{tmp_path}/images:1.0"]
    subprocess.run([*command, f"oci-archive:{target}:1.0"], check=True, capture_output=True)
    for which in ("", ":1.0"):
        pin = resolve(cx, f"{target}{which}")
        fetch(cx, pin)
        assert names(cx, pin) == NAMES
    with pytest.raises(NotFound):
        resolve(cx, f"{target}:2.0")


def test_a_layout_with_both_descriptions_is_one_image(cx, tmp_path):
    maker = simple_layout(tmp_path / "images")
    manifest = json.loads(maker.path(maker.entries[0]["digest"]).read_bytes())
    listed = {
        "Config": f"blobs/sha256/{manifest['config']['digest'][7:]}",
        "RepoTags": ["app:1.0"],
        "Layers": [f"blobs/sha256/{layer['digest'][7:]}" for layer in manifest["layers"]],
    }
    (maker.root / "manifest.json").write_text(json.dumps([listed]))
    pin = resolve(cx, f"{maker.tar(tmp_path / 'saved.tar')}:app:1.0")
    fetch(cx, pin)
    assert names(cx, pin) == NAMES
    assert [layer["digest"] for layer in pin.data["layers"]] == [one.digest for one in layers()]


def test_platforms_in_the_layout_of_an_archive_are_chosen_from(cx, tmp_path):
    maker = LayoutMaker(tmp_path / "images")
    entries = [
        {**maker.image(architecture=one), "platform": {"os": "linux", "architecture": one}}
        for one in (FOREIGN, HOST)
    ]
    maker.add(maker.index(*entries), "1.0")
    target = maker.tar(tmp_path / "saved.tar")
    assert resolve(cx, target).digest == entries[1]["digest"]
    assert resolve(cx, target, FOREIGN).digest == entries[0]["digest"]


# --- compression ---------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [gzip.compress, zstd.compress], ids=["gzip", "zstd"])
def test_the_whole_archive_may_be_packed(cx, saved, pack):
    save(saved, [(["app:1.0"], two())])
    plainly = resolve(cx, saved)
    saved.write_bytes(pack(saved.read_bytes()))
    pin = resolve(cx, saved)
    assert pin.digest == plainly.digest
    fetch(cx, pin)
    assert names(cx, pin) == NAMES


@pytest.mark.parametrize(
    ("pack", "kind"), [(gzip.compress, "+gzip"), (zstd.compress, "+zstd")], ids=["gzip", "zstd"]
)
def test_layers_in_it_may_be_packed(cx, saved, pack, kind):
    save(saved, [(["app:1.0"], [Blob.of(BASE, pack(BASE)), plain(TOP)])])
    pin = resolve(cx, saved)
    assert [one["media_type"].partition("tar")[2] for one in pin.data["layers"]] == [kind, ""]
    fetch(cx, pin)
    assert names(cx, pin) == NAMES


# --- which image ---------------------------------------------------------------------------------


@pytest.fixture
def several(saved):
    """Three images: two names, one name, none."""
    other = [plain(BASE)]
    third = [plain(TOP)]
    return save(saved, [(["python:3.12", "a.b:5000/x:1"], two()), (["c:1"], other), (None, third)])


@pytest.mark.parametrize(
    ("which", "layers"),
    [
        ("python:3.12", 2),
        ("docker.io/library/python:3.12", 2),
        ("a.b:5000/x:1", 2),
        ("c:1", 1),
        (sha256(json.dumps(configuration([plain(TOP)])).encode())[7:19], 1),
    ],
)
def test_an_image_is_found_by_name_or_id(cx, several, which, layers):
    assert len(resolve(cx, f"{several}:{which}").data["layers"]) == layers


def test_an_unknown_name_lists_what_there_is(cx, several):
    with pytest.raises(NotFound) as caught:
        resolve(cx, f"{several}:python:3.11")
    for name in ("python:3.12", "a.b:5000/x:1", "c:1"):
        assert name in caught.value.cause


def test_one_of_several_must_be_named(cx, several):
    with pytest.raises(UsageProblem, match="holds 3 images: which one") as caught:
        resolve(cx, several)
    assert caught.value.cause.startswith("there is: python:3.12, a.b:5000/x:1, c:1, ")
    assert caught.value.hints == (f"docker-archive://{several}:python:3.12",)


@pytest.mark.parametrize(
    ("which", "name"),
    [
        ("", "saved"),
        (":python", "saved/python:latest"),
        (":docker.io/library/python:3", "saved/python:3"),
        (":ABC", "saved:ABC"),
    ],
)
def test_names_are_made_of_file_and_reference(saved, which, name):
    saved.write_bytes(b"")
    assert OciImages().name(ImageRef("docker-archive", f"{saved}{which}")) == name


def test_the_digest_follows_the_content(cx, saved):
    save(saved, [(["app:1.0"], two())])
    first = resolve(cx, saved).digest
    save(saved, [(["app:2.0"], two())])
    assert resolve(cx, saved).digest == first
    save(saved, [(["app:1.0"], [plain(BASE)])])
    assert resolve(cx, saved).digest != first


# --- links and names -----------------------------------------------------------------------------


def test_a_repeated_layer_is_a_link_in_the_archive(cx, saved):
    save(saved, [(["a:1"], two()), (["b:1"], [plain(BASE), plain(BASE), plain(TOP)])])
    with tarfile.open(saved) as archive:
        assert sum(member.issym() for member in archive) == 3
    pin = resolve(cx, f"{saved}:b:1")
    fetch(cx, pin)
    assert names(cx, pin) == [NAMES[0], NAMES[0], NAMES[1]]


def entry_of(name, kind, target=""):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def image_with(saved, layer, *members):
    """An archive whose one layer is called ``layer``."""
    blob = plain(BASE)
    config = json.dumps(configuration([blob])).encode()
    listed = [{"Config": "c.json", "RepoTags": None, "Layers": [layer]}]
    return write_tar(
        saved, [("c.json", config), *members, ("manifest.json", json.dumps(listed).encode())]
    )


HONEST = {
    "a hard link": ("l", entry_of("l", tarfile.LNKTYPE, "x/real")),
    "a symbolic link": ("y/l", entry_of("y/l", tarfile.SYMTYPE, "../x/real")),
    "an absolute link": ("l", entry_of("l", tarfile.SYMTYPE, "/x/real")),
    "an odd spelling": ("./x//y/../real", entry_of("d", tarfile.DIRTYPE)),
}


@pytest.mark.parametrize("case", HONEST)
def test_names_are_looked_up_inside_the_archive(cx, saved, case):
    layer, member = HONEST[case]
    image_with(saved, layer, ("x/real", BASE), member)
    pin = resolve(cx, saved)
    fetch(cx, pin)
    assert names(cx, pin) == NAMES[:1]


OUTSIDE = {
    "a link to a file of the host": ("l", entry_of("l", tarfile.SYMTYPE, "/etc/hostname")),
    "a link up and out": ("l", entry_of("l", tarfile.SYMTYPE, "../../../../etc/hostname")),
    "a link to itself": ("l", entry_of("l", tarfile.SYMTYPE, "l")),
    "a layer outside": ("../../etc/hostname", entry_of("l", tarfile.DIRTYPE)),
    "an absolute layer": ("/etc/hostname", entry_of("l", tarfile.DIRTYPE)),
    "a directory": ("l", entry_of("l", tarfile.DIRTYPE)),
    "a FIFO": ("l", entry_of("l", tarfile.FIFOTYPE)),
    "a device": ("l", entry_of("l", tarfile.CHRTYPE)),
}


@pytest.mark.parametrize("case", OUTSIDE)
def test_names_that_lead_out_lead_nowhere(cx, saved, case):
    layer, member = OUTSIDE[case]
    image_with(saved, layer, member)
    with pytest.raises(IntegrityError, match="the archive is not complete"):
        resolve(cx, saved)


def test_a_second_file_of_one_name_is_refused(cx, saved):
    image_with(saved, "l", ("l", BASE), ("./l", TOP))
    with pytest.raises(HostileInput, match="ambiguous"):
        resolve(cx, saved)


def test_names_that_are_no_text_are_left_alone(cx, saved):
    image_with(saved, "l", ("l", BASE), ("\udcff\udcfe", b"{"))
    assert resolve(cx, saved).architecture == HOST


# --- damage and malice ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layer",
    [BASE[:-1024] + b"x" * 1024, BASE[:-512], BASE + bytes(512)],
    ids=["changed", "shorter", "longer"],
)
def test_a_layer_that_is_not_what_the_configuration_says_is_refused(cx, saved, layer):
    image_with(saved, "l", ("l", layer))
    pin = resolve(cx, saved)
    with pytest.raises(IntegrityError, match="is damaged, or the archive was changed"):
        fetch(cx, pin)
    assert not list((cx.cache_dir / "blobs" / "sha256").glob(f"{sha256(BASE)[7:]}*"))


def test_an_archive_that_changes_in_between_is_noticed(cx, saved):
    save(saved, [(["a:1"], two())])
    pin = resolve(cx, saved)
    save(saved, [(["a:1"], [plain(BASE)])])
    with pytest.raises(IntegrityError, match="was changed"):
        fetch(cx, pin)


def test_an_archive_that_vanishes_in_between_is_named(cx, saved):
    save(saved, [(["a:1"], two())])
    pin = resolve(cx, saved)
    saved.unlink()
    with pytest.raises(HostNotReady, match="cannot be read") as caught:
        fetch(cx, pin)
    assert caught.value.cause == "No such file or directory"


def test_a_fetched_image_does_not_need_its_archive_any_more(cx, saved):
    save(saved, [(["a:1"], two())])
    pin = resolve(cx, saved)
    fetch(cx, pin)
    saved.unlink()
    fetch(cx, pin)
    assert names(cx, pin) == NAMES


def listing(**fields):
    return [{"Config": "c.json", "RepoTags": ["a:1"], "Layers": ["l"], **fields}]


MALFORMED = {
    "no JSON": b"{",
    "no list": b"{}",
    "an empty list": b"[]",
    "no objects": b"[1]",
    "no configuration": json.dumps(listing(Config=None)).encode(),
    "a number for a layer": json.dumps(listing(Layers=[1])).encode(),
    "no list of layers": json.dumps(listing(Layers="l")).encode(),
    "one layer too many": json.dumps(listing(Layers=["l", "l"])).encode(),
    "no layers": json.dumps(listing(Layers=[])).encode(),
    "tags that are none": json.dumps(listing(RepoTags=[{}])).encode(),
    "a missing configuration": json.dumps(listing(Config="d.json")).encode(),
    "a layer as configuration": json.dumps(listing(Config="l")).encode(),
    "depth": b"[" * 5000,
    "a key twice": b'[{"Config": "c.json", "Config": "d.json", "Layers": ["l"]}]',
    "a way out of its list": b'[], "images": []',
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_list_is_refused(cx, saved, case):
    config = json.dumps(configuration([plain(BASE)])).encode()
    write_tar(saved, [("c.json", config), ("l", BASE), ("manifest.json", MALFORMED[case])])
    with pytest.raises(BangerError) as caught:
        resolve(cx, saved)
    assert caught.value.code in ("hostile-input", "integrity", "usage")
    assert "\n" not in caught.value.summary + caught.value.cause


NO_ARCHIVES = {
    "nothing": (b"", IntegrityError),
    "text": (b"no archive" * 100, HostileInput),
    "another archive": (tar(file(b"readme", b"hello")), UsageProblem),
    "a short file": (header(b"f", size=1 << 20) + padded(b"x"), IntegrityError),
    "a short stream": (gzip.compress(tar(file(b"f")))[:-9], IntegrityError),
    "an absurd size": (tar(header(b"manifest.json", size=1 << 44)), HostileInput),
}


@pytest.mark.parametrize("case", NO_ARCHIVES)
def test_what_is_no_archive_of_images_is_refused(cx, saved, case):
    data, kind = NO_ARCHIVES[case]
    saved.write_bytes(data)
    with pytest.raises(kind):
        resolve(cx, saved)


def test_a_bomb_is_noticed(cx, saved):
    zeros = header(b"f", size=1 << 42) + bytes(1 << 24)
    saved.write_bytes(zstd.compress(zeros) + zstd.compress(bytes(1 << 27)) * 40)
    with pytest.raises(HostileInput, match="expands to an absurd size"):
        resolve(cx, saved)


def test_too_many_files_are_refused(cx, saved):
    saved.write_bytes(tar(*(file(b"%d" % number) for number in range((1 << 16) + 1))))
    with pytest.raises(HostileInput, match="absurd"):
        resolve(cx, saved)


def test_too_many_documents_are_refused(cx, saved):
    document = b"{" + b" " * ((4 << 20) - 1)
    saved.write_bytes(
        gzip.compress(tar(*(file(b"%d.json" % number, document) for number in range(17))), 1)
    )
    with pytest.raises(HostileInput, match="absurdly many documents"):
        resolve(cx, saved)


def test_a_sparse_file_is_refused(cx, saved, tmp_path):
    with (tmp_path / "l").open("wb") as sparse:
        sparse.truncate(1 << 30)
    subprocess.run(["tar", "-S", "-C", tmp_path, "-cf", saved, "l"], check=True)
    with pytest.raises(HostileInput, match="sparse"):
        resolve(cx, saved)


def test_reading_can_be_stopped(saved):
    save(saved, [(["a:1"], two())])
    stop = threading.Event()
    stop.set()
    with pytest.raises(Interrupted):
        read_contents(saved, stop)


def test_a_stopped_fetch_leaves_no_wrong_blob(cx, saved, monkeypatch):
    save(saved, [(["a:1"], two())])
    pin = resolve(cx, saved)

    def interrupted(what, done, total):
        raise Interrupted("stopped")

    monkeypatch.setattr(cx, "progress", interrupted)
    with pytest.raises(Interrupted):
        fetch(cx, pin)
    for blob in (cx.cache_dir / "blobs" / "sha256").iterdir():
        assert sha256(blob.read_bytes())[7:] == blob.name
