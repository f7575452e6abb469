from __future__ import annotations

import random
import subprocess

import pytest

from banger_debian.versions import version_key

KNOWN = [
    ("1.0", "1.0-0"),
    ("1.0", "1.0~rc1"),
    ("1.0-1", "1.0-1~deb12u1"),
    ("1.0-1", "1.0-1+deb12u1"),
    ("1.0-1+b1", "1.0-1+deb12u1"),
    ("2:1", "10"),
    ("0:1", "1"),
    ("1.10", "1.9"),
    ("1.010", "1.10"),
    ("1a", "1"),
    ("1a", "1+"),
    ("1.0-1-1", "1.0-1"),
    ("6.1.192-2", "6.1.176-1"),
    ("2.36-9+deb12u14", "2.36-9+deb12u9"),
    ("1~~", "1~~a"),
    ("1~", "1~~"),
    ("a", "~"),
    ("1.2.13.dfsg-1", "1:1.2"),
    ("0", "00"),
]


def random_pairs(count):
    chance = random.Random(20)

    def version():
        letters = "".join(chance.choice("0019.+~-ab") for _ in range(chance.randint(0, 5)))
        # A version does not end with the dash of an empty revision
        return f"0{letters.rstrip('-')}"

    for _ in range(count):
        yield version(), version()


@pytest.mark.parametrize(("one", "other"), [*KNOWN, *random_pairs(80)])
def test_the_order_is_that_of_dpkg(one, other):
    def dpkg(relation):
        command = ["dpkg", "--compare-versions", one, relation, other]
        return subprocess.run(command, check=False, stderr=subprocess.DEVNULL).returncode == 0

    assert (version_key(one) < version_key(other)) == dpkg("lt")
    assert (version_key(one) == version_key(other)) == dpkg("eq")
