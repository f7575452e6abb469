"""Media types (OCI image specification 1.1, media-types.md; Docker image manifest 2.2)."""

from __future__ import annotations

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)
"""One image for several platforms."""

MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)
"""One image."""

DOCUMENT_TYPES = (*INDEX_TYPES, *MANIFEST_TYPES)
"""What a registry is asked for."""

CONFIG_TYPES = (OCI_CONFIG, DOCKER_CONFIG)
"""How an image wants its programs run; anything else configures no image."""

LAYER_TYPES = frozenset(
    (
        OCI_LAYER,
        f"{OCI_LAYER}+gzip",
        f"{OCI_LAYER}+zstd",
        DOCKER_LAYER,
        f"{DOCKER_LAYER}.gzip",
        f"{DOCKER_LAYER}.zstd",
    )
)
"""Archives of files. How they are packed is seen in their first bytes."""

SCHEMA1_TYPES = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
"""Docker's first format."""

_ARTIFACTS = (
    ("application/vnd.cncf.helm.", "a Helm chart"),
    ("application/vnd.wasm.", "a WebAssembly module"),
    ("application/wasm", "a WebAssembly module"),
    ("application/vnd.docker.plugin.", "a Docker plugin"),
    ("application/vnd.docker.ai.", "an AI model"),
    ("application/vnd.cncf.model.", "an AI model"),
    ("application/vnd.ollama.", "an AI model"),
    ("application/vnd.docker.compose.", "a Compose project"),
    ("application/vnd.dev.cosign.", "a signature"),
    ("application/vnd.dev.sigstore.", "a signature"),
    ("application/vnd.cncf.notary.", "a signature"),
    ("application/vnd.in-toto", "an attestation"),
    ("application/spdx", "a bill of materials"),
    ("application/vnd.cyclonedx", "a bill of materials"),
    ("application/vnd.cncf.openpolicyagent.", "a bundle of policies"),
    ("application/vnd.cncf.flux.", "a Flux artifact"),
    ("application/vnd.devcontainers", "a part of a dev container"),
    ("application/vnd.oci.artifact.", "an artifact"),
)


def artifact(*media_types: str) -> str:
    """Say in words what something is that is no image, by the first of its media types that
    tells; '' when none does.
    """
    for media_type in media_types:
        for prefix, words in _ARTIFACTS:
            if media_type.startswith(prefix):
                return words
    return ""
