"""Only what the owner alone can have written counts as the administrator's."""

from __future__ import annotations

import os

import pytest

from banger_core.errors import HostNotReady
from banger_core.plan.ssh_admin import admin_layers, trusted_policies
from banger_core.plan.ssh_policy import fold

POLICY = """
precedence = 950
[ssh]
agent_forwarding = false
lock = ["agent_forwarding"]
"""


@pytest.fixture
def etc(tmp_path):
    base = tmp_path / "etc"
    (base / "policy.d").mkdir(parents=True)
    base.chmod(0o755)
    (base / "policy.d").chmod(0o755)
    return base


def write(path, text):
    path.write_text(text)
    path.chmod(0o644)
    return path


def me():
    return os.geteuid()


def test_nothing_there_is_nothing_said(tmp_path):
    assert admin_layers(tmp_path / "none", me()) == []
    assert trusted_policies(tmp_path / "none", me()) == frozenset()


def test_files_become_layers_that_lock(etc):
    path = write(etc / "policy.d" / "10-acme.toml", POLICY)
    write(etc / "policy.d" / "README", "not a policy")
    (layer,) = admin_layers(etc, me())
    assert (layer.rank, layer.origin) == (950, str(path))
    found = fold([layer])["agent_forwarding"]
    assert (found.value, found.locked_by) == (False, str(path))


def test_trusted_policies_are_read(etc):
    assert trusted_policies(etc, me()) == frozenset()
    write(etc / "config.toml", 'trusted_policies = ["acme"]')
    assert trusted_policies(etc, me()) == {"acme"}


def test_another_owner_is_refused(etc):
    write(etc / "policy.d" / "a.toml", POLICY)
    with pytest.raises(HostNotReady, match="etc cannot be trusted") as problem:
        admin_layers(etc, me() + 1)
    assert f"uid {me()}" in problem.value.cause


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666])
def test_a_file_that_others_write_is_refused(etc, mode):
    write(etc / "policy.d" / "a.toml", POLICY).chmod(mode)
    with pytest.raises(HostNotReady, match=r"a\.toml") as problem:
        admin_layers(etc, me())
    assert f"{mode:04o}" in problem.value.cause


@pytest.mark.parametrize("part", ["", "policy.d"])
def test_a_directory_that_others_write_is_refused(etc, part):
    write(etc / "policy.d" / "a.toml", POLICY)
    (etc / part).chmod(0o777)
    with pytest.raises(HostNotReady, match="cannot be trusted"):
        admin_layers(etc, me())


def test_symbolic_links_are_refused(etc, tmp_path):
    real = write(tmp_path / "real.toml", POLICY)
    (etc / "policy.d" / "a.toml").symlink_to(real)
    with pytest.raises(HostNotReady) as problem:
        admin_layers(etc, me())
    assert "symbolic" in problem.value.cause
    (etc / "config.toml").symlink_to(real)
    with pytest.raises(HostNotReady, match="config"):
        trusted_policies(etc, me())


def test_a_linked_directory_is_refused(etc, tmp_path):
    (tmp_path / "link").symlink_to(etc)
    with pytest.raises(HostNotReady):
        admin_layers(tmp_path / "link", me())


def test_a_fifo_neither_hangs_nor_counts(etc):
    os.mkfifo(etc / "policy.d" / "a.toml", 0o600)
    with pytest.raises(HostNotReady) as problem:
        admin_layers(etc, me())
    assert "regular" in problem.value.cause


@pytest.mark.parametrize(
    "text",
    ["[ssh", 'precedence = "x"', "precedence = 10", "ssh = 1", "\udcff", "precedence = 5000"],
)
def test_what_is_no_policy_stops_everything(etc, text):
    path = etc / "policy.d" / "a.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    path.chmod(0o644)
    with pytest.raises(HostNotReady, match=r"a\.toml"):
        admin_layers(etc, me())


def test_trusted_policies_must_be_names(etc):
    write(etc / "config.toml", 'trusted_policies = "acme"')
    with pytest.raises(HostNotReady, match="config"):
        trusted_policies(etc, me())
