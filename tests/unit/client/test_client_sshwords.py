"""Words after the host on a command line of ssh."""

from __future__ import annotations

import pytest

from banger_core.client.sshwords import reaching, split_options

ARGV = ["ssh", "-F", "none", "root@host"]


@pytest.mark.parametrize(
    ("words", "options", "command"),
    [
        ([], [], []),
        (["ls", "-l"], [], ["ls", "-l"]),
        (["-v", "ls"], ["-v"], ["ls"]),
        (["-vp", "22", "ls"], ["-vp", "22"], ["ls"]),
        (["-p22", "ls"], ["-p22"], ["ls"]),
        (["-o", "A=b", "--", "-x"], ["-o", "A=b"], ["-x"]),
        (["-p"], ["-p"], []),
        (["-", "x"], [], ["-", "x"]),
        (["--", "--"], [], ["--"]),
    ],
)
def test_options_end_where_ssh_ends_them(words, options, command):
    assert split_options(words) == (options, command)


@pytest.mark.parametrize(
    "words",
    [
        ["-L", "1:x:2"],
        ["-NL", "1:x:2"],
        ["-L1:x:2"],
        ["-R", "1", "sleep", "9"],
        ["-vfND", "1"],
        ["-o", "LocalForward=1 x:2"],
        ["-o", " remoteforward 1 x:2"],
        ["-oDynamicForward=1"],
    ],
)
def test_forwarded_ports_get_a_connection_of_their_own(words):
    assert reaching(ARGV, words) == ["ssh", "-S", "none", *ARGV[1:], *words]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["-v"],
        ["ls", "-R", "-L"],
        ["-t", "--", "-L"],
        ["-p", "-L"],
        ["-o", "ForwardAgent=no"],
        ["-O", "forward", "-L", "1:x:2"],
        ["-W", "x:1"],
    ],
)
def test_everything_else_shares_the_connection(words):
    assert reaching(ARGV, words) == [*ARGV, *words]
