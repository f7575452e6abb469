"""The format of known_hosts, with ssh-keygen as the judge."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banger_ssh.known_hosts import HostLine, find, forget, host_name, pin, read_lines

KEY = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDsuUyfy0gs3iMfKEMTYjC9xYFAbmTyWlOGR6lSLCHRZ"
OTHER = b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF5tVFHdVxLC8rYV5cDVmtMPMLXbQxvbd/o9NWiVwd6Y"
NAMES = [b"web.vm", b"[127.0.0.1]:40001"]


def keygen(path, *options):
    argv = ["ssh-keygen", "-f", str(path), *options]
    return subprocess.run(argv, check=False, capture_output=True)


def judged(path, data, name):
    """The lines that ssh-keygen -F finds, without its remarks."""
    path.write_bytes(data)
    said = keygen(path, "-F", name.decode()).stdout
    return [line for line in said.split(b"\n") if line and not line.startswith(b"# Host ")]


def pinned(data, name):
    return [line.key for line in find(data, name)]


def test_a_pin_is_found_by_openssh_under_every_name(tmp_path):
    data = pin(b"", NAMES, KEY, b"banger:1")
    assert data == b"web.vm,[127.0.0.1]:40001 " + KEY + b" banger:1\n"
    for name in NAMES:
        assert len(judged(tmp_path / "kh", data, name)) == 1
    assert judged(tmp_path / "kh", data, b"other.vm") == []
    listed = keygen(tmp_path / "kh", "-l").stdout
    assert b"banger:1 (ED25519)" in listed


def test_a_pin_is_found_after_openssh_hashed_the_file(tmp_path):
    path = tmp_path / "kh"
    path.write_bytes(pin(b"# mine\n", NAMES, KEY, b"banger:1") + b"other.vm " + OTHER + b"\n")
    assert keygen(path, "-H").returncode == 0
    data = path.read_bytes()
    assert b"web.vm" not in data
    assert all(pinned(data, name) == [KEY] for name in NAMES)
    left = forget(data, NAMES)
    assert all(judged(path, left, name) == [] for name in NAMES)
    assert len(judged(path, left, b"other.vm")) == 1
    assert left.startswith(b"# mine\n")


FILES = {
    "plain": b"web.vm " + KEY,
    "several names": b"a,web.vm,b " + KEY + b" comment with words",
    "upper case": b"WEB.vm " + KEY,
    "star": b"*.vm " + KEY,
    "question mark": b"we?.vm " + KEY,
    "negation": b"*.vm,!web.vm " + KEY,
    "negation first": b"!web.vm,*.vm " + KEY,
    "only negation": b"!web.vm " + KEY,
    "brackets": b"[web.vm]:2222 " + KEY,
    "revoked": b"@revoked web.vm " + KEY,
    "authority": b"@cert-authority *.vm " + KEY,
    "comment": b"# web.vm " + KEY,
    "indented": b" \t web.vm \t " + KEY.replace(b" ", b"\t"),
    "hash of another": b"|1|F1E1KeoE/eEWhi10WpGv4OdiO6Y=|3988QV0VE8wmZL7suNrYQLITLCg= " + KEY,
    "broken hash": b"|1|notbase64|x= " + KEY,
    "no key": b"web.vm",
    "dots are not wild": b"webxvm " + KEY,
    "brackets are not a class": b"we[b].vm " + KEY,
    "empty": b"",
}


@pytest.mark.parametrize("line", FILES.values(), ids=FILES.keys())
@pytest.mark.parametrize("end", [b"\n", b"", b"\n\n# end\n"])
def test_matching_agrees_with_openssh(tmp_path, line, end):
    for name in (b"web.vm", b"api.vm", b"[web.vm]:2222", b"webxvm"):
        data = line + end
        found = [entry.raw.rstrip(b"\n") for entry in find(data, name)]
        judge = judged(tmp_path / "kh", data, name)
        assert len(found) == len(judge), (name, judge)


def test_only_the_names_go_from_a_line_with_others():
    line = b"  a,web.vm,b   " + KEY + b"\tweb.vm stays in the comment\r\n"
    assert forget(line, NAMES) == line.replace(b"a,web.vm,b", b"a,b")


def test_what_speaks_of_more_than_the_name_stays():
    kept = b"".join(
        line + b"\n"
        for line in (
            b"# web.vm",
            b"*.vm " + KEY,
            b"@revoked web.vm " + KEY,
            b"@cert-authority web.vm " + KEY,
            b"web.vm broken",
            b"web.vm " + KEY.replace(b" ", b" \0"),
            b"xweb.vm " + KEY,
            b"",
            b"\xff\xfe",
        )
    )
    assert forget(kept, NAMES) == kept
    assert forget(pin(kept, NAMES, OTHER, b"c"), NAMES) == kept


def test_a_new_pin_replaces_every_old_one(tmp_path):
    old = pin(b"", [b"web.vm", b"[127.0.0.1]:1"], KEY, b"banger:old")
    old = pin(old, [b"api.vm", b"[127.0.0.1]:40001"], KEY, b"banger:api")
    data = pin(old, NAMES, OTHER, b"banger:new")
    assert [pinned(data, name) for name in NAMES] == [[OTHER], [OTHER]]
    assert pinned(data, b"api.vm") == [KEY]
    assert len(judged(tmp_path / "kh", data, b"[127.0.0.1]:40001")) == 1


def test_a_missing_final_newline_joins_no_lines(tmp_path):
    data = pin(b"other.vm " + KEY, NAMES, OTHER, b"c")
    assert pinned(data, b"other.vm") == [KEY]
    assert pinned(data, b"web.vm") == [OTHER]
    assert forget(b"web.vm " + KEY, NAMES) == b""


@pytest.mark.parametrize("name", [b"a b", b"a\n", b"a,b", b"*", b"", b"#a", b"@a", b"!a", b"|1|"])
def test_names_that_are_none_are_refused(name):
    with pytest.raises(ValueError, match="names of hosts"):
        pin(b"", [name], KEY, b"c")


@pytest.mark.parametrize("key", [b"", b"ssh-ed25519", KEY + b" more", KEY + b"\nx.vm " + KEY])
def test_keys_that_are_none_are_refused(key):
    with pytest.raises(ValueError, match="not a public key"):
        pin(b"", NAMES, key, b"c")


def test_addresses_are_written_as_openssh_does():
    assert host_name("127.64.0.1", 22) == b"127.64.0.1"
    assert host_name("127.64.0.1", 2222) == b"[127.64.0.1]:2222"
    assert host_name("::1", 2222) == b"[::1]:2222"


LINES = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.sampled_from([line for line in FILES.values() if b"web" not in line.lower()]),
        st.just(b"other.vm " + KEY + b" \xff comment"),
    ),
    max_size=8,
).map(b"\n".join)


@given(LINES, st.sampled_from([b"", b"\n"]))
def test_whatever_else_stands_there_survives(foreign, end):
    """Pinning and forgetting gives back the file; only a missing last newline is added."""
    data = foreign + end
    whole = data if not data or data.endswith(b"\n") else data + b"\n"
    assert forget(pin(data, NAMES, KEY, b"banger:1"), NAMES) == whole
    assert pin(data, NAMES, KEY, b"banger:1").startswith(data)
    again = pin(pin(data, NAMES, OTHER, b"banger:0"), NAMES, KEY, b"banger:1")
    assert again == pin(data, NAMES, KEY, b"banger:1")


@given(st.binary(max_size=200))
def test_reading_loses_nothing(data):
    lines = read_lines(data)
    assert b"".join(line.raw if isinstance(line, HostLine) else line for line in lines) == data
