"""The block for plain ssh against the command line: OpenSSH itself says what they mean."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import pytest

from banger_core.engine.ssh import ssh_target, write_note
from banger_core.engine.ssh_config import ssh_config_block

# What ssh -G does not say of a file and of options alike, and the shared connection
_NOISE = {"host", "proxycommand", "proxyjump", "controlpath"}


def meaning(argv):
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    pairs = [line.partition(" ")[::2] for line in said.splitlines()]
    return sorted((name, value) for name, value in pairs if name not in _NOISE)


@pytest.mark.parametrize(
    "policy",
    [
        {},
        {"agent_forwarding": True},
        {"ciphers": "-aes*-cbc,3des-cbc", "connect_timeout": 7, "compression": True},
        {"certificate": '/odd dir/50% "x"\\y-cert.pub', "multiplex": False},
    ],
)
def test_plain_ssh_means_what_banger_ssh_means(tmp_path, paths, settings, make_record, policy):
    target = ssh_target(make_record(port=2222, **policy), paths, settings)
    file = tmp_path / "ssh_config"
    # What the user wants for every host must not come in between
    file.write_text(
        ssh_config_block(target)
        + "Host *\n  ForwardAgent yes\n  User other\n  Port 99\n  StrictHostKeyChecking ask\n"
        "  ProxyCommand false\n  UserKnownHostsFile /elsewhere\n  KnownHostsCommand /bin/true\n"
    )
    by_name = meaning(["ssh", "-G", "-F", str(file), "web.vm"])
    assert "controlpath" not in subprocess.check_output(
        ["ssh", "-G", "-F", str(file), "web.vm"], text=True
    )
    by_words = meaning([target.argv[0], "-G", *target.argv[1:]])
    assert by_name == by_words


def test_a_login_goes_to_the_image_s_own_server_where_policy_says_so(paths, settings, make_record):
    target = ssh_target(make_record(), paths, settings)
    shell = (*target.argv[:-1], "core@127.0.0.9")
    assert "HostName 127.0.0.9" in ssh_config_block(replace(target, shell=shell))
    assert "HostName 127.0.0.1" in ssh_config_block(target)


def test_one_that_plain_ssh_uses_is_written_with_the_note(paths, settings, make_record):
    target = ssh_target(make_record(), paths, settings)
    write_note(paths, target)
    assert paths.ssh_block("web").read_text() == ssh_config_block(target)
