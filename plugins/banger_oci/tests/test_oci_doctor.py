from __future__ import annotations

import asyncio
import json
import sys

import pytest

from banger_core.testing.context import FakeContext
from banger_core.testing.contracts import DoctorCheckContract
from banger_oci.blobs import BlobStore
from banger_oci.doctor import OciCheck


@pytest.fixture
def docker(tmp_path):
    directory = tmp_path / "docker"
    directory.mkdir(mode=0o755)
    directory.chmod(0o755)
    return directory / "config.json"


@pytest.fixture
def cx(tmp_path, docker):
    return FakeContext(tmp_path / "context", {"docker_config": docker.parent, "cache_size": 100})


class TestContract(DoctorCheckContract):
    make = OciCheck


def check(cx):
    return {one.message: one for one in asyncio.run(OciCheck().check(cx))}


def fix(cx):
    return [one.message for one in asyncio.run(OciCheck().fix(cx))]


def write(file, content, mode=0o600):
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    file.chmod(mode)


def test_no_credentials_are_in_order(cx, docker):
    found = check(cx)
    assert found[f"there is no {docker}: registries are asked without credentials"].level == "pass"
    assert {one.subject for one in found.values()} == {"oci"}


def test_a_private_file_is_in_order(cx, docker):
    write(docker, {"auths": {"ghcr.io": {}}})
    assert check(cx)[f"{docker} can be read"].level == "pass"
    assert fix(cx) == []


def test_a_file_that_others_can_read_is_mended(cx, docker):
    write(docker, {}, 0o644)
    finding = check(cx)[f"others can read {docker}"]
    assert (finding.level, finding.fix) == ("warn", f"chmod 600 {docker}")
    assert fix(cx) == [f"{docker} can be read by nobody else now"]
    assert docker.stat().st_mode & 0o777 == 0o600
    assert check(cx)[f"{docker} can be read"].level == "pass"


def test_a_private_directory_keeps_others_out_too(cx, docker):
    write(docker, {}, 0o644)
    docker.parent.chmod(0o700)
    assert check(cx)[f"{docker} can be read"].level == "pass"
    assert fix(cx) == []


def test_what_a_link_points_to_is_left_alone(cx, docker, tmp_path):
    write(tmp_path / "shared.json", {}, 0o644)
    docker.symlink_to(tmp_path / "shared.json")
    assert check(cx)[f"others can read {docker}"].level == "warn"
    assert fix(cx) == []
    assert (tmp_path / "shared.json").stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("content", ["{", "[]", "\0", "[" * 5000])
def test_a_file_that_cannot_be_understood_is_named(cx, docker, content):
    write(docker, content)
    (finding,) = [one for one in check(cx).values() if one.level == "fail"]
    assert str(docker) in finding.message + finding.fix
    assert finding.why


def test_helpers_that_are_named_are_looked_for(cx, docker, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    here = tmp_path / "docker-credential-here"
    here.write_text("#!/bin/sh\n")
    here.chmod(0o755)
    names = {"ghcr.io": "here", "a.b": "../evil", "c.d": 7}
    write(docker, {"credsStore": "missing", "credHelpers": names})
    found = check(cx)
    assert found["docker-credential-here is installed"].level == "pass"
    assert found["docker-credential-missing is not installed"].level == "warn"
    assert found["docker-credential-../evil is not installed"].level == "warn"


def test_a_full_cache_is_told_and_trimmed(cx):
    store = BlobStore(cx.cache_dir)
    digest = "sha256:2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    store.keep(b"x", digest)
    assert check(cx)["the cache holds 1 B of 100 B"].level == "pass"
    assert fix(cx) == []
    small = FakeContext(cx.cache_dir.parent, {**cx.settings, "cache_size": 0})
    assert check(small)["the cache holds 1 B of 0 B"].level == "warn"
    assert fix(small) == ["1 B were removed from the cache"]
    assert not store.path(digest).exists()


def test_missing_libraries_are_named(cx, monkeypatch):
    found = check(cx)
    assert found["layers packed with zstd can be read"].level == "pass"
    assert found["layers packed with gzip are read fast"].level == "pass"
    for name in ("compression.zstd", "backports.zstd", "zstandard", "isal"):
        monkeypatch.setitem(sys.modules, name, None)
    found = check(cx)
    assert found["layers packed with zstd cannot be read"].level == "fail"
    assert found["layers packed with gzip are read slowly"].level == "warn"
