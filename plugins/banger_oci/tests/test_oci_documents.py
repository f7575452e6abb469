"""Indexes, manifests and configurations: what is well-formed is read, everything else named."""

from __future__ import annotations

import json
import subprocess

import pytest

from banger_core.api import HostileInput, ImageConfig, UsageProblem
from banger_oci import mediatypes as mt
from banger_oci.documents import (
    DOCUMENT_LIMIT,
    Descriptor,
    Index,
    Manifest,
    Platform,
    check_layers,
    parse_configuration,
    parse_document,
)

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")


def encoded(document):
    return document if isinstance(document, bytes) else json.dumps(document).encode()


def descriptor(kind, digest=A, size=10, **more):
    return {"mediaType": kind, "digest": digest, "size": size, **more}


def manifest(kind=mt.OCI_MANIFEST, **changes):
    document = {
        "schemaVersion": 2,
        "mediaType": kind,
        "config": descriptor(mt.OCI_CONFIG, A, 7),
        "layers": [
            descriptor(f"{mt.OCI_LAYER}+gzip", B, 100),
            descriptor(f"{mt.OCI_LAYER}+zstd", C, 200),
        ],
    }
    return {key: value for key, value in (document | changes).items() if value is not ...}


def index(kind=mt.OCI_INDEX, **changes):
    amd64, arm64 = (
        {"os": "linux", "architecture": "amd64", "os.version": "1", "features": ["x"]},
        {"os": "linux", "architecture": "arm64", "variant": "v8"},
    )
    document = {
        "schemaVersion": 2,
        "mediaType": kind,
        "manifests": [
            descriptor(mt.OCI_MANIFEST, A, platform=amd64),
            descriptor(mt.OCI_MANIFEST, B, platform=arm64, annotations={"a": "b"}),
        ],
    }
    return {key: value for key, value in (document | changes).items() if value is not ...}


def with_layer(**changes):
    layer = descriptor(f"{mt.OCI_LAYER}+gzip", B, 100)
    layer = {key: value for key, value in (layer | changes).items() if value is not ...}
    return manifest(layers=[layer])


def refused(error, document, media_type="", parse=parse_document):
    with pytest.raises(error) as caught:
        parse(encoded(document), media_type) if parse is parse_document else parse(
            encoded(document)
        )
    problem = caught.value
    assert type(problem) is error
    assert problem.hints
    assert "\n" not in problem.summary + problem.cause
    assert len(problem.summary + problem.cause) < 400
    return f"{problem.summary}: {problem.cause}"


def test_a_manifest_is_read():
    assert parse_document(encoded(manifest()), mt.OCI_MANIFEST) == Manifest(
        mt.OCI_MANIFEST,
        Descriptor(media_type=mt.OCI_CONFIG, digest=A, size=7),
        (
            Descriptor(media_type=f"{mt.OCI_LAYER}+gzip", digest=B, size=100),
            Descriptor(media_type=f"{mt.OCI_LAYER}+zstd", digest=C, size=200),
        ),
    )


def test_an_index_is_read():
    assert parse_document(encoded(index()), mt.OCI_INDEX) == Index(
        mt.OCI_INDEX,
        (
            Descriptor(
                media_type=mt.OCI_MANIFEST, digest=A, size=10, platform=Platform("linux", "amd64")
            ),
            Descriptor(
                media_type=mt.OCI_MANIFEST,
                digest=B,
                size=10,
                platform=Platform("linux", "arm64", "v8"),
                annotations={"a": "b"},
            ),
        ),
    )


def run(*argv):
    subprocess.run(list(map(str, argv)), check=True, capture_output=True)


@pytest.mark.parametrize(
    ("written", "kind"),
    [("oci", mt.OCI_MANIFEST), ("v2s2", mt.DOCKER_MANIFEST)],
)
def test_what_umoci_and_skopeo_write_is_read(tmp_path, written, kind):
    layout, image, directory = tmp_path / "layout", f"{tmp_path}/layout:app", tmp_path / "dir"
    (tmp_path / "file").write_text("content")
    run("umoci", "init", "--layout", layout)
    run("umoci", "new", "--image", image)
    run("umoci", "insert", "--rootless", "--image", image, tmp_path / "file", "/file")
    wishes = {
        "config.user": "app:1000",
        "config.env": "A=b c",
        "config.workingdir": "/srv",
        "config.entrypoint": "/entry",
        "config.cmd": "x",
        "config.label": "org.example=1",
        "architecture": "arm64",
    }
    run("umoci", "config", "--image", image, *(f"--{key}={wish}" for key, wish in wishes.items()))
    copy = ["skopeo", "--insecure-policy", "--override-arch=arm64", "copy", f"--format={written}"]
    run(*copy, f"oci:{image}", f"dir:{directory}")
    found = parse_document((directory / "manifest.json").read_bytes(), "")
    assert found.media_type == kind
    data = (directory / found.config.digest.removeprefix("sha256:")).read_bytes()
    assert found.config.size == len(data)
    configured = parse_configuration(data)
    check_layers(found, configured)
    assert configured.platform == Platform("linux", "arm64")
    assert configured.image == ImageConfig(
        env=("A=b c",),
        working_dir="/srv",
        user="app:1000",
        entrypoint=("/entry",),
        cmd=("x",),
        labels={"org.example": "1"},
    )
    listed = parse_document((layout / "index.json").read_bytes(), "")
    assert [entry.media_type for entry in listed.manifests] == [mt.OCI_MANIFEST]


@pytest.mark.parametrize("kind", sorted(mt.LAYER_TYPES))
def test_layers_of_both_families_are_taken(kind):
    assert parse_document(encoded(with_layer(mediaType=kind)), "").layers[0].media_type == kind


@pytest.mark.parametrize(
    ("document", "told", "kind"),
    [
        # The document decides
        (manifest(), "", mt.OCI_MANIFEST),
        (manifest(mt.DOCKER_MANIFEST), "", mt.DOCKER_MANIFEST),
        (manifest(), "application/json", mt.OCI_MANIFEST),
        (manifest(), "text/plain; charset=utf-8", mt.OCI_MANIFEST),
        (manifest(), "application/octet-stream", mt.OCI_MANIFEST),
        (manifest(), f"{mt.OCI_MANIFEST.upper()} ; charset=utf-8", mt.OCI_MANIFEST),
        (index(mt.DOCKER_LIST), "", mt.DOCKER_LIST),
        # It says nothing: the transport decides, then the content
        (manifest(mediaType=...), mt.DOCKER_MANIFEST, mt.DOCKER_MANIFEST),
        (manifest(mediaType=None), mt.OCI_MANIFEST, mt.OCI_MANIFEST),
        (manifest(mediaType=...), "", mt.OCI_MANIFEST),
        (manifest(mediaType=""), "nonsense", mt.OCI_MANIFEST),
        (index(mediaType=...), "", mt.OCI_INDEX),
        (index(mediaType=...), mt.DOCKER_LIST, mt.DOCKER_LIST),
        # Go's empty lists, and fields that are nobody's business
        (index(manifests=None), "", mt.OCI_INDEX),
        (index(manifests=[], layers=None, config=None), "", mt.OCI_INDEX),
        (manifest(manifests=None, annotations=None, subject={"x": 1}), "", mt.OCI_MANIFEST),
        (manifest(config=descriptor(mt.DOCKER_CONFIG, data="eHg=", urls=[])), "", mt.OCI_MANIFEST),
        (with_layer(annotations=None, platform=None, urls=None), "", mt.OCI_MANIFEST),
        (with_layer(size=0), "", mt.OCI_MANIFEST),
        (with_layer(size=1 << 40), "", mt.OCI_MANIFEST),
        # The same layer twice
        (manifest(layers=[descriptor(mt.OCI_LAYER, B)] * 500), "", mt.OCI_MANIFEST),
        (index(manifests=[descriptor(mt.OCI_MANIFEST, B)] * 1000), "", mt.OCI_INDEX),
    ],
)
def test_what_a_document_is(document, told, kind):
    assert parse_document(encoded(document), told).media_type == kind


@pytest.mark.parametrize("platform", [{}, {"os": "linux"}, {"architecture": "", "os": ""}])
def test_a_platform_without_an_architecture_says_nothing(platform):
    document = index(manifests=[descriptor(mt.OCI_MANIFEST, platform=platform)])
    assert parse_document(encoded(document), "").manifests[0].platform is None


ABSURD = [
    # Not JSON, or JSON that readers disagree about
    (b"", "it is no JSON"),
    (b"<html>Bad gateway</html>", "it begins b'<html>Bad gateway</html>'"),
    (b"null", "no JSON object: nothing"),
    (b"[]", "no JSON object: a list"),
    (b'"x"', "no JSON object: 'x'"),
    (b"{} {}", "it is no JSON"),
    (b"\xef\xbb\xbf{}", "it is no JSON"),
    ("{}".encode("utf-16"), "no UTF-8 at byte 0"),
    (b'{"a": "\xff"}', "no UTF-8 at byte 7"),
    (b'{"a": NaN}', "NaN is no JSON"),
    (b'{"a": -Infinity}', "-Infinity is no JSON"),
    (b'{"a": "\n"}', "it is no JSON"),
    (b'{"a": ' + b"9" * 5000 + b"}", "it is no JSON"),
    (b'{"layers": [], "layers": []}', "the name 'layers' stands twice"),
    (b'{"config": {"size": 1, "digest": "x", "size": 2}}', "the name 'size' stands twice"),
    (b'{"a": 1, "\\u0061": 2}', "the name 'a' stands twice"),
    (b"[" * 150_000, "nested too deeply"),
    (b'{"a":' * 150_000, "nested too deeply"),
    (b"[" * 200_001, "more than 200000 values"),
    (b"[" + b"0," * 200_000 + b"0]", "more than 200000 values"),
    (b" " * DOCUMENT_LIMIT + b"{}", "4194306 bytes, allowed are 4194304"),
    # Two things at once (CVE-2021-41190), or neither
    (manifest(manifests=[]), "both an index and a manifest"),
    (index(layers=[]), "both an index and a manifest"),
    (index(config={}), "both an index and a manifest"),
    (index(Layers=[]), "both an index and a manifest"),
    (manifest(MANIFESTS=[]), "both an index and a manifest"),
    (index(mediaType=..., layers=[]), "both an index and a manifest"),
    (manifest(mt.OCI_INDEX), "its content is not what"),
    (manifest(mt.DOCKER_LIST), "its content is not what"),
    (index(mt.OCI_MANIFEST), "its content is not what"),
    ({"schemaVersion": 2}, "neither an index nor a manifest"),
    ({"errors": [{"code": "DENIED"}]}, "neither an index nor a manifest"),
    # Versions
    (manifest(schemaVersion=...), "schemaVersion is not 2"),
    (manifest(schemaVersion=3), "schemaVersion is not 2"),
    (manifest(schemaVersion="2"), "schemaVersion is no whole number: '2'"),
    (manifest(schemaVersion=2.0), "schemaVersion is no whole number: 2.0"),
    (manifest(schemaVersion=True), "schemaVersion is no whole number: true"),
    # The wrong kinds of values
    (manifest(mediaType=2), "mediaType is no string: 2"),
    (manifest(mediaType="x" * 256), "mediaType has 256 characters"),
    (manifest(config=[]), "config is no object: a list"),
    (manifest(config=...), "config is missing"),
    (manifest(layers={}), "layers is no list: an object"),
    (manifest(layers="x" * 10_000), "layers is no list: 'xxx"),
    (manifest(layers=[None]), "layers[0] is no object: nothing"),
    (index(manifests={"0": 1}), "manifests is no list"),
    (index(manifests=[[]]), "manifests[0] is no object"),
    # Too many
    (manifest(layers=[descriptor(mt.OCI_LAYER, B)] * 501), "501 entries, allowed are 500"),
    (index(manifests=[descriptor(mt.OCI_MANIFEST)] * 1001), "1001 entries, allowed are 1000"),
    # Digests: before anything else
    (with_layer(digest=...), "layers[0].digest is no sha256 digest: nothing"),
    (with_layer(digest=""), "is no sha256 digest: ''"),
    (with_layer(digest="sha256:"), "is no sha256 digest: 'sha256:'"),
    (with_layer(digest="sha256:" + "A" * 64), "is no sha256 digest"),
    (with_layer(digest="sha256:" + "a" * 63), "is no sha256 digest"),
    (with_layer(digest="sha256:" + "a" * 65), "is no sha256 digest"),
    (with_layer(digest=A + "\n"), "is no sha256 digest"),
    (with_layer(digest="sha256:" + "٣" * 64), "is no sha256 digest"),
    (with_layer(digest="sha512:" + "a" * 128), "is no sha256 digest"),
    (with_layer(digest="sha256:../../../../etc/passwd"), "is no sha256 digest"),
    (with_layer(digest="sha256:" + "/" * 5000), "is no sha256 digest"),
    (with_layer(digest=["sha256"], size=-1, mediaType=1), "digest is no sha256 digest: a list"),
    (manifest(config=descriptor(mt.OCI_CONFIG, "md5:x")), "config.digest is no sha256 digest"),
    (index(manifests=[descriptor(mt.OCI_MANIFEST, "x")]), "index is malformed: manifests[0].dig"),
    # Sizes
    (with_layer(size=...), "layers[0].size is no size in bytes: nothing"),
    (with_layer(size=-1), "is no size in bytes: -1"),
    (with_layer(size=(1 << 40) + 1), "is no size in bytes: 1099511627777"),
    (with_layer(size=1 << 63), "is no size in bytes"),
    (with_layer(size=1.0), "is no whole number: 1.0"),
    (with_layer(size=1e400), "is no JSON"),
    (with_layer(size=True), "is no whole number: true"),
    (with_layer(size="10"), "is no whole number: '10'"),
    (manifest(config=descriptor(mt.OCI_CONFIG, A, DOCUMENT_LIMIT + 1)), "allowed are 4194304"),
    (
        manifest(layers=[descriptor(mt.OCI_LAYER, B, 1), descriptor(mt.OCI_LAYER, B, 2)]),
        f"two sizes for {B}",
    ),
    (manifest(layers=[descriptor(mt.OCI_LAYER, A, 1)]), f"two sizes for {A}"),
    # The rest of a descriptor
    (with_layer(mediaType=...), "layers[0].mediaType is missing"),
    (with_layer(mediaType="x\ny"), r"is no media type: 'x\ny'"),
    (with_layer(mediaType="../x"), "is no media type"),
    (with_layer(mediaType=7), "mediaType is no string: 7"),
    (with_layer(urls="x"), "urls is no list"),
    (with_layer(urls=[1]), "urls[0] is no string: 1"),
    (with_layer(annotations=[1]), "annotations is no object"),
    (with_layer(annotations={"a": 1}), "annotations.a is no string: 1"),
    (with_layer(annotations={"a": "\ud800"}), "annotations.a holds half of a surrogate pair"),
    (with_layer(annotations={str(n): "" for n in range(1001)}), "1001 entries"),
    (with_layer(platform=[]), "platform is no object"),
    (with_layer(platform={"os": 1}), "platform.os is no string: 1"),
    (with_layer(platform={"architecture": "amd64\n"}), "platform.architecture is no part"),
    (with_layer(platform={"variant": "v" * 33}), "platform.variant is no part"),
]


@pytest.mark.parametrize(("document", "cause"), ABSURD, ids=[cause for _, cause in ABSURD])
def test_a_document_that_no_honest_tool_writes_is_refused(document, cause):
    assert cause in refused(HostileInput, document)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        (manifest(), mt.OCI_INDEX),
        (manifest(), mt.DOCKER_MANIFEST),
        (manifest(mt.DOCKER_MANIFEST), mt.OCI_MANIFEST),
        (index(), mt.OCI_MANIFEST),
        (index(mt.DOCKER_LIST), f"{mt.OCI_INDEX}; charset=utf-8"),
    ],
)
def test_a_document_that_was_sent_as_something_else_is_refused(document, told):
    assert "but was sent as" in refused(HostileInput, document, told)


@pytest.mark.parametrize(
    ("document", "told"),
    [(manifest(mediaType=...), mt.OCI_INDEX), (index(mediaType=...), mt.DOCKER_MANIFEST)],
)
def test_a_silent_document_must_look_like_what_it_was_sent_as(document, told):
    assert "its content is not what" in refused(HostileInput, document, told)


def other(config="application/vnd.oci.empty.v1+json", layer="application/x", **more):
    return manifest(config=descriptor(config), layers=[descriptor(layer, B)], **more)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (other("application/vnd.cncf.helm.config.v1+json"), "no image but a Helm chart"),
        (other("application/vnd.wasm.config.v0+json"), "no image but a WebAssembly module"),
        (other("application/vnd.docker.plugin.v1+json"), "no image but a Docker plugin"),
        (other("application/vnd.docker.ai.model.config.v0.1+json"), "no image but an AI model"),
        (other(artifactType="application/vnd.cncf.flux.x"), "no image but a Flux artifact"),
        (other(layer="application/vnd.in-toto+json"), "no image but an attestation"),
        (other(layer="application/spdx+json"), "no image but a bill of materials"),
        (other(), "no image that banger knows: its media type is 'application/x'"),
        (other(artifactType="a/b"), "no image that banger knows: its media type is 'a/b'"),
        (other("a/b"), "no image that banger knows: its media type is 'a/b'"),
        (other("application/vnd.oci.empty.v1+json", mt.OCI_LAYER), "no image that banger knows"),
        (manifest(config=descriptor(mt.OCI_EMPTY), layers=[]), "'application/vnd.oci.empty.v1"),
        # The configuration of an image, but the content of something else
        (with_layer(mediaType="application/vnd.in-toto+json"), "no image but an attestation"),
        (with_layer(mediaType="application/vnd.ollama.image.model"), "no image but an AI model"),
        (with_layer(mediaType="application/vnd.dev.cosign.simplesigning.v1+json"), "a signature"),
        (with_layer(mediaType=f"{mt.OCI_LAYER}+br"), "tar+br'"),
        (with_layer(mediaType=mt.OCI_CONFIG), "no image that banger knows"),
        (manifest("application/vnd.oci.artifact.manifest.v1+json"), "no image but an artifact"),
        (manifest("application/vnd.example+json"), "no image that banger knows"),
        # Images that cannot be had
        (
            with_layer(mediaType=f"{mt.OCI_LAYER}+gzip+encrypted"),
            "layer of this image is encrypted",
        ),
        (with_layer(mediaType=f"{mt.DOCKER_LAYER}.gzip+encrypted"), "banger has no keys"),
        (
            with_layer(mediaType="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"),
            "may not be distributed",
        ),
        (
            with_layer(mediaType="application/vnd.oci.image.layer.nondistributable.v1.tar+zstd"),
            "may not be distributed",
        ),
        (with_layer(urls=["https://example.org/layer"]), "may not be distributed"),
        (index(manifests=[descriptor(mt.OCI_MANIFEST, urls=["x"])]), "may not be distributed"),
        (manifest(layers=[]), "this image has no layers"),
        (manifest(layers=None), "this image has no layers"),
        (manifest(layers=...), "this image has no layers"),
        # Docker's first format
        ({"schemaVersion": 1, "fsLayers": [], "name": "x"}, "in Docker's schema 1"),
        ({"schemaVersion": 1, "mediaType": mt.OCI_MANIFEST}, "in Docker's schema 1"),
        (manifest(mt.SCHEMA1_TYPES[1]), "in Docker's schema 1"),
        (manifest(fsLayers=[]), "in Docker's schema 1"),
    ],
)
def test_what_is_no_image_that_can_be_used_is_refused_with_what_it_is(document, words):
    assert words in refused(UsageProblem, document)


def test_schema_1_is_known_by_what_the_transport_says():
    document = {"name": "x", "signatures": []}
    assert "schema 1" in refused(UsageProblem, document, mt.SCHEMA1_TYPES[0])


def configuration(**changes):
    document = {
        "os": "linux",
        "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": [B, C]},
        "config": {"Cmd": ["sh"]},
        "history": [{"created_by": "x"}],
        "created": "2024-01-01T00:00:00Z",
    }
    return {key: value for key, value in (document | changes).items() if value is not ...}


def test_a_configuration_is_read():
    found = parse_configuration(encoded(configuration()))
    assert found.platform == Platform("linux", "amd64")
    assert found.diff_ids == (B, C)
    assert found.image == ImageConfig(cmd=("sh",))


@pytest.mark.parametrize(
    ("changes", "platform"),
    [
        ({"architecture": "arm64", "variant": "v8"}, Platform("linux", "arm64")),
        ({"architecture": "aarch64"}, Platform("linux", "arm64")),
        ({"architecture": "amd64", "variant": "v3"}, Platform("linux", "amd64", "v3")),
        ({"os": "Linux"}, Platform("linux", "amd64")),
    ],
)
def test_the_platform_of_a_configuration_has_one_form(changes, platform):
    assert parse_configuration(encoded(configuration(**changes))).platform == platform


ABSURD_CONFIGURATIONS = [
    (b"not json", "configuration is malformed: it is no JSON"),
    ({}, "rootfs is missing: this configures no image"),
    (configuration(rootfs=...), "rootfs is missing"),
    (configuration(rootfs=[]), "rootfs is no object"),
    (configuration(rootfs={"diff_ids": []}), "rootfs.type is missing"),
    (configuration(rootfs={"type": "tree", "diff_ids": []}), "rootfs.type is not 'layers'"),
    (configuration(rootfs={"type": "layers", "diff_ids": "x"}), "diff_ids is no list"),
    (configuration(rootfs={"type": "layers", "diff_ids": ["x"]}), "diff_ids[0] is no sha256"),
    (configuration(rootfs={"type": "layers", "diff_ids": [B, None]}), "diff_ids[1] is no sha"),
    (configuration(rootfs={"type": "layers", "diff_ids": [B] * 501}), "501 entries"),
    (configuration(architecture=...), "architecture is missing"),
    (configuration(architecture=""), "architecture is missing"),
    (configuration(architecture="a/b"), "architecture is no part of a platform: 'a/b'"),
    (configuration(architecture=1), "architecture is no string: 1"),
    (configuration(os="linux\n"), "os is no part of a platform"),
    (configuration(config="x"), "config is no object"),
    (configuration(config={"Cmd": "x"}), "config.Cmd is no list"),
    (b" " * DOCUMENT_LIMIT + b"{}", "allowed are 4194304"),
    (b'{"os": "linux", "os": "windows"}', "the name 'os' stands twice"),
]


@pytest.mark.parametrize(
    ("document", "cause"),
    ABSURD_CONFIGURATIONS,
    ids=[cause for _, cause in ABSURD_CONFIGURATIONS],
)
def test_a_configuration_that_no_honest_tool_writes_is_refused(document, cause):
    assert cause in refused(HostileInput, document, parse=parse_configuration)


@pytest.mark.parametrize(
    ("changes", "summary"),
    [
        ({"os": "windows"}, "this image is for windows"),
        ({"os": "freebsd"}, "this image is for freebsd"),
        ({"os": ...}, "this image is for no system"),
    ],
)
def test_an_image_for_another_system_is_refused(changes, summary):
    text = refused(UsageProblem, configuration(**changes), parse=parse_configuration)
    assert summary in text
    assert "banger runs Linux" in text


def test_manifest_and_configuration_must_agree_on_the_number_of_layers():
    image = parse_document(encoded(manifest()), "")
    check_layers(image, parse_configuration(encoded(configuration())))
    fewer = configuration(rootfs={"type": "layers", "diff_ids": [B]})
    with pytest.raises(HostileInput) as caught:
        check_layers(image, parse_configuration(encoded(fewer)))
    assert caught.value.cause == "it knows 1 layers, the manifest has 2"
