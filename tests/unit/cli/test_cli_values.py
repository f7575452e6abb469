"""Values that people type."""

from __future__ import annotations

import pytest

from banger_core.cli import values
from banger_core.cli.references import is_path
from banger_core.errors import UsageProblem


def test_good_ones():
    assert values.vm_name("web-1") == "web-1"
    assert values.size("--memory", "512M") == 512 << 20
    assert values.size("--memory", "1.5GiB") == 3 << 29
    assert values.size("--memory", str(1 << 30)) == 1 << 30
    assert values.labels(["a=b", "c.d/e-f=", "g==h"]) == {"a": "b", "c.d/e-f": "", "g": "=h"}


@pytest.mark.parametrize(
    ("name", "near"),
    [("Web_1", "web-1"), ("a.b", "a-b"), ("-x-", "x"), ("x" * 70, "x" * 63), ("Ünïcode", "n-code")],
)
def test_a_bad_name_comes_with_a_good_one(name, near):
    with pytest.raises(UsageProblem) as told:
        values.vm_name(name)
    assert told.value.hints == (f"--name {near}",)


def test_a_hopeless_name_comes_with_an_example():
    with pytest.raises(UsageProblem) as told:
        values.vm_name("...")
    assert told.value.hints == ("--name web",)


@pytest.mark.parametrize("text", ["", "M", "-1G", "0", "1X", "1e9G", "½G", "1 2G", "0x10M", "nan"])
def test_bad_sizes_name_their_option(text):
    with pytest.raises(UsageProblem, match="--memory"):
        values.size("--memory", text)


@pytest.mark.parametrize("pair", ["a", "=b", "-a=b", "a b=c", "", "\n=x", "é=x"])
def test_bad_labels(pair):
    with pytest.raises(UsageProblem, match="KEY=VALUE"):
        values.labels([pair])


@pytest.mark.parametrize("count", [0, -1])
def test_bad_counts(count):
    with pytest.raises(UsageProblem):
        values.cpus(count)


@pytest.mark.parametrize(
    ("word", "ports"),
    [
        ("80", (80, 80, "tcp")),
        ("8080:80", (8080, 80, "tcp")),
        ("53/udp", (53, 53, "udp")),
        ("5353:53/udp", (5353, 53, "udp")),
        ("65535:1/tcp", (65535, 1, "tcp")),
    ],
)
def test_ports(word, ports):
    (found,) = values.ports([word])
    assert (found.host_port, found.guest_port, found.protocol) == ports


@pytest.mark.parametrize(
    "word",
    ["", "http", "0", "80:", ":80", "127.0.0.1:80:80", "80-90", "70000", "80/sctp", "-1", "٣"],
)
def test_bad_ports(word):
    with pytest.raises(UsageProblem, match="port") as problem:
        values.ports([word])
    assert problem.value.hints


@pytest.mark.parametrize("text", [".", "..", "./x", "../x", "/x", "~", "~/x"])
def test_paths(text):
    assert is_path(text)


@pytest.mark.parametrize("text", ["", "web", "debian:bookworm", "org/app", ".x", "oci://./x"])
def test_no_paths(text):
    assert not is_path(text)
