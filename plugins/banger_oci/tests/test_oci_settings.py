from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from banger_core.testing.context import FakeContext
from banger_oci.settings import OciSettings, settings_of


def test_without_a_section_there_are_defaults(tmp_path):
    settings = settings_of(FakeContext(tmp_path))
    assert settings.cache_size == 20 << 30
    assert settings.docker_config is None


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("ghcr.io", "ghcr.io"),
        ("GHCR.io", "ghcr.io"),
        ("index.docker.io", "docker.io"),
        ("localhost", "localhost"),
        ("localhost:5000", "localhost:5000"),
        ("registry:5000", "registry:5000"),
        ("10.0.0.1:5000", "10.0.0.1:5000"),
        ("[::1]:5000", "[::1]:5000"),
    ],
)
def test_registries_are_hosts(given, meant):
    settings = OciSettings.model_validate(
        {
            "insecure_registries": [given],
            "token_hosts": {given: "auth.example.com"},
        }
    )
    assert settings.insecure_registries == (meant,)
    assert settings.token_hosts == {meant: "auth.example.com"}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("", "give HOST or HOST:PORT"),
        ("registry", "has a dot or a port"),
        ("https://ghcr.io", "without scheme, user and path"),
        ("ghcr.io/org", "without scheme, user and path"),
        ("user@ghcr.io", "without scheme, user and path"),
        ("ghcr.io:http", "give HOST or HOST:PORT"),
        ("ghcr.io:70000", "65535"),
        ("::1", "in brackets"),
        ("a b.c", "' '"),
    ],
)
@pytest.mark.parametrize("key", ["insecure_registries", "token_hosts"])
def test_what_is_no_host_is_refused_with_the_reason(key, given, reason):
    value = {"insecure_registries": [given], "token_hosts": {given: "ghcr.io"}}.get(key, given)
    with pytest.raises(ValidationError) as caught:
        OciSettings.model_validate({key: value})
    message = caught.value.errors()[0]["msg"]
    assert reason in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("given", "size"), [("20G", 20 << 30), ("1.5 GiB", 3 << 29), (4096, 4096), (0, 0), ("0", 0)]
)
def test_the_cache_size_is_a_size(given, size):
    assert OciSettings.model_validate({"cache_size": given}).cache_size == size


@pytest.mark.parametrize("given", ["much", "-1G", -1, True, 1.5, [1], None])
def test_what_is_no_size_is_refused(given):
    with pytest.raises(ValidationError):
        OciSettings.model_validate({"cache_size": given})


@pytest.mark.parametrize("given", [0, 17, "3", True])
def test_downloads_at_once_are_a_small_number(given):
    with pytest.raises(ValidationError):
        OciSettings.model_validate({"parallel": given})


def test_dockers_directory_may_begin_at_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    settings = OciSettings.model_validate({"docker_config": "~/.docker"})
    assert settings.docker_config == Path("/home/somebody/.docker")


@pytest.mark.parametrize(
    ("given", "reason"),
    [("relative", "absolute path"), ("/root/.docker/config.json", "the directory that holds")],
)
def test_dockers_directory_is_an_absolute_one(given, reason):
    with pytest.raises(ValidationError, match=reason):
        OciSettings.model_validate({"docker_config": given})


def test_settings_survive_the_way_through_the_context(tmp_path):
    given = OciSettings(cache_size=1, docker_config=tmp_path, insecure_registries=("a.b:1",))
    assert settings_of(FakeContext(tmp_path, given.model_dump())) == given
