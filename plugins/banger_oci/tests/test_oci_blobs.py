from __future__ import annotations

import asyncio
import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile

import pytest
from oci_origins import Memory, blob_of, child, end, some_bytes

from banger_core.api import HostileInput, HostNotReady, IntegrityError, NotFound
from banger_oci.blobs import BlobStore
from banger_oci.documents import DOCUMENT_LIMIT, Descriptor

OCI = "application/vnd.oci.image"
DOCKER = "application/vnd.docker"
REF_NAME = "org.opencontainers.image.ref.name"
KINDS = {
    "oci": (f"{OCI}.manifest.v1+json", f"{OCI}.config.v1+json", f"{OCI}.layer.v1.tar+gzip"),
    "docker": (
        f"{DOCKER}.distribution.manifest.v2+json",
        f"{DOCKER}.container.image.v1+json",
        f"{DOCKER}.image.rootfs.diff.tar.gzip",
    ),
}


@pytest.fixture
def store(tmp_path):
    return BlobStore(tmp_path / "oci")


def kept(store):
    return {f"sha256:{path.name}" for path in store.blobs.iterdir()}


def manifests(store):
    return json.loads((store.root / "index.json").read_text())["manifests"]


def image(store, kind="oci", files=("first", "second")):
    """Put an image of one file in each layer into the cache, and return its manifest."""
    manifest_type, config_type, layer_type = KINDS[kind]
    layers, diff_ids = [], []
    for name in files:
        tar = layer(name)
        diff_ids.append(blob_of(tar).digest)
        layers.append(fetched(store, gzip.compress(tar), layer_type))
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/bin/sh"], "Env": ["A=B"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": manifest_type,
        "config": fetched(store, json.dumps(config).encode(), config_type),
        "layers": layers,
    }
    data = json.dumps(manifest).encode()
    store.keep(data, blob_of(data).digest)
    return blob_of(data, manifest_type)


def fetched(store, data, media_type):
    blob = blob_of(data, media_type)
    asyncio.run(store.fetch(blob, Memory(data)))
    return {"mediaType": media_type, "digest": blob.digest, "size": blob.size}


def layer(name):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(name)
        tar.addfile(entry, io.BytesIO(name.encode()))
    return packed.getvalue()


def run(*command):
    words = [str(word) for word in command]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- files -----------------------------------------------------------------------------------


def test_the_cache_is_an_oci_layout_that_only_its_owner_can_read(store):
    assert json.loads((store.root / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    index = json.loads((store.root / "index.json").read_text())
    assert index["schemaVersion"] == 2
    assert index["manifests"] == []
    data = some_bytes(10)
    store.keep(data, blob_of(data).digest)
    store.tag("x", blob_of(data))
    with store.hold([blob_of(data).digest]):
        for path in (store.root, *store.root.rglob("*")):
            assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_the_umask_opens_nothing(tmp_path):
    before = os.umask(0)
    try:
        test_the_cache_is_an_oci_layout_that_only_its_owner_can_read(BlobStore(tmp_path / "oci"))
    finally:
        os.umask(before)


def test_opening_the_cache_again_changes_nothing(store):
    data = some_bytes(10)
    store.keep(data, blob_of(data).digest)
    store.tag("x", blob_of(data))
    again = BlobStore(store.root)
    assert again.read(blob_of(data)) == data
    assert len(manifests(again)) == 1


def test_a_cache_that_lost_its_index_gets_a_new_one(store):
    (store.root / "index.json").unlink()
    assert manifests(BlobStore(store.root)) == []


def test_a_link_instead_of_the_cache_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "oci").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(HostNotReady):
        BlobStore(tmp_path / "oci")


@pytest.mark.parametrize(
    "digest",
    [
        "",
        "sha256:",
        "sha256:../../../etc/passwd",
        "sha256:" + "0" * 63,
        "sha256:" + "0" * 65,
        "sha256:" + "A" * 64,
        "sha256:" + "0" * 64 + "\n",
        "sha512:" + "0" * 64,
        "0" * 64,
    ],
)
def test_a_malformed_digest_never_becomes_a_path(store, digest):
    blob = Descriptor(media_type="", digest=digest, size=1)
    uses = [
        lambda: store.path(digest),
        lambda: store.has(blob),
        lambda: store.read(blob),
        lambda: store.keep(b"x", digest),
        lambda: store.discard(digest),
        lambda: store.hold([digest]),
        lambda: asyncio.run(store.fetch(blob, Memory())),
    ]
    for use in uses:
        with pytest.raises(IntegrityError):
            use()
    assert kept(store) == set()
    assert list(store.partials.iterdir()) == []


def test_a_blob_is_here_only_in_its_size_and_as_a_file(store):
    data = some_bytes(10)
    blob, path = blob_of(data), store.path(blob_of(data).digest)
    assert not store.has(blob)
    store.keep(data, blob.digest)
    assert store.has(blob)
    path.write_bytes(data[:9])
    assert not store.has(blob)
    path.unlink()
    # A link is as long as what it says
    path.symlink_to("0123456789")
    assert not store.has(blob)


# --- documents -------------------------------------------------------------------------------


def test_a_document_with_another_digest_is_not_kept(store):
    data = some_bytes(100)
    with pytest.raises(IntegrityError):
        store.keep(data + b"?", blob_of(data).digest)
    assert kept(store) == set()


def test_keeping_a_document_again_mends_it_and_counts_as_use(store):
    data = some_bytes(100)
    path = store.path(blob_of(data).digest)
    for damaged in (data, data[:-1], b"?" * 100):
        store.keep(data, blob_of(data).digest)
        path.write_bytes(damaged)
        os.utime(path, (1, 1))
        store.keep(data, blob_of(data).digest)
        assert path.read_bytes() == data
        assert path.stat().st_mtime > 1


def test_a_wrong_document_is_refused_although_the_same_bytes_are_here(store):
    data = some_bytes(100)
    digest = blob_of(data).digest
    store.keep(data, digest)
    store.path(digest).write_bytes(b"?" * 100)
    with pytest.raises(IntegrityError):
        store.keep(b"?" * 100, digest)


@pytest.mark.parametrize("damaged", [b"?" * 100, b"", some_bytes(100) + b"?", b"?" * 5000])
def test_a_damaged_document_is_refused_and_removed(store, damaged):
    data = some_bytes(100)
    store.keep(data, blob_of(data).digest)
    store.path(blob_of(data).digest).write_bytes(damaged)
    with pytest.raises(IntegrityError, match="damaged"):
        store.read(blob_of(data))
    with pytest.raises(NotFound):
        store.read(blob_of(data))


def test_what_is_too_long_for_a_document_is_not_read(store):
    data = bytes(DOCUMENT_LIMIT + 1)
    asyncio.run(store.fetch(blob_of(data), Memory(data)))
    with pytest.raises(HostileInput):
        store.read(blob_of(data))
    longest = data[:-1]
    store.keep(longest, blob_of(longest).digest)
    assert store.read(blob_of(longest)) == longest


# --- names -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["python:3.12-slim", "ghcr.io/org/app:1", "localhost:5000/a/b_c:V1.0", "plain"]
)
def test_other_tools_read_the_cache(store, tmp_path, kind, name):
    store.tag("another", image(store, kind, ("other",)))
    store.tag(name, image(store, kind))
    place = f"{store.root}:{name}"
    facts = json.loads(run("skopeo", "inspect", f"oci:{place}"))
    assert facts["Env"] == ["A=B"]
    assert len(facts["Layers"]) == 2
    run("skopeo", "--insecure-policy", "copy", "--quiet", f"oci:{place}", f"oci:{tmp_path}/copy:x")
    for source in (place, f"{tmp_path}/copy:x"):
        bundle = tmp_path / f"bundle-{source.count('copy')}"
        run("umoci", "unpack", "--rootless", "--image", source, bundle)
        files = {path.name: path.read_text() for path in (bundle / "rootfs").iterdir()}
        assert files == {"first": "first", "second": "second"}


def test_skopeo_reads_a_name_with_a_digest(store):
    manifest = image(store)
    name = f"ghcr.io/org/app@{manifest.digest}"
    store.tag(name, manifest)
    raw = run("skopeo", "inspect", "--raw", f"oci:{store.root}:{name}")
    assert f"sha256:{hashlib.sha256(raw.encode()).hexdigest()}" == manifest.digest


def test_other_tools_may_write_into_the_cache(store, tmp_path):
    manifest = image(store)
    store.tag("ours", manifest)
    ours = f"oci:{store.root}:ours"
    run("skopeo", "--insecure-policy", "copy", "--quiet", ours, f"oci:{tmp_path}/copy:x")
    fresh = BlobStore(tmp_path / "fresh")
    theirs = f"oci:{fresh.root}:theirs"
    run("skopeo", "--insecure-policy", "copy", "--quiet", f"oci:{tmp_path}/copy:x", theirs)
    assert fresh.has(manifest)
    fresh.tag("ours", manifest)
    names = {entry["annotations"][REF_NAME] for entry in manifests(fresh)}
    assert names == {"ours", "theirs"}
    assert {item.name for item in fresh.prune(0)} == kept(store)


def test_a_name_moves_to_the_new_image_and_an_image_has_many_names(store):
    first, second = image(store), image(store, files=("x",))
    for name, manifest in (("a", first), ("b", first), ("a", second), ("a", second)):
        store.tag(name, manifest)
    named = {entry["annotations"][REF_NAME]: entry["digest"] for entry in manifests(store)}
    assert named == {"a": second.digest, "b": first.digest}
    assert len(manifests(store)) == 2


def test_a_docker_manifest_stays_what_it_is(store):
    manifest = image(store, "docker")
    store.tag("a", manifest)
    store.tag("a", manifest)
    assert store.has(manifest)
    (entry,) = manifests(store)
    assert entry["mediaType"] == f"{OCI}.manifest.v1+json"
    assert entry["digest"] != manifest.digest


@pytest.mark.parametrize(
    "damaged", [b"", b"{", b"[]", b"\xff", b'{"manifests": 7}', b"[" * 100_000, None]
)
def test_an_index_that_cannot_be_read_is_made_anew(store, damaged):
    index = store.root / "index.json"
    if damaged is None:
        index.unlink()
    else:
        index.write_bytes(damaged)
    store.tag("a", image(store))
    store.prune(1 << 30)
    (entry,) = manifests(store)
    assert entry["annotations"] == {REF_NAME: "a"}


def test_names_given_by_several_processes_at_once_are_all_there(store):
    manifest = image(store)
    sets = [[f"{number}-{at}" for at in range(8)] for number in range(3)]
    processes = [child("tag", store.root, manifest.digest, manifest.size, *names) for names in sets]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
        assert [process.wait(60) for process in processes] == [0, 0, 0]
    finally:
        for process in processes:
            end(process)
    assert {entry["annotations"][REF_NAME] for entry in manifests(store)} == set().union(*sets)


@pytest.mark.parametrize("kind", KINDS)
def test_a_name_for_what_is_not_here_is_not_given(store, kind):
    with pytest.raises(NotFound):
        store.tag("a", blob_of(b"{}", KINDS[kind][0]))
    assert manifests(store) == []
