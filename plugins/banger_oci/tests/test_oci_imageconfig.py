"""What an image says about its programs: kept when it can be meant, refused when it cannot."""

from __future__ import annotations

import json

import pytest

from banger_core.api import HostileInput, ImageConfig
from banger_oci.documents import parse_configuration

MAX = 2**31 - 1


def configured(config):
    document = {
        "os": "linux",
        "architecture": "amd64",
        "rootfs": {"type": "layers", "diff_ids": []},
        "config": config,
    }
    return parse_configuration(json.dumps(document).encode()).image


def refusal(config):
    with pytest.raises(HostileInput) as caught:
        configured(config)
    assert "configuration" in caught.value.summary
    assert caught.value.hints
    assert "\n" not in caught.value.cause
    assert len(caught.value.cause) < 300
    return caught.value.cause


def test_everything_that_is_honoured_is_kept():
    found = configured(
        {
            "Env": ["PATH=/usr/bin:/bin", "LANG=C.UTF-8", "EMPTY="],
            "WorkingDir": "/srv/app",
            "User": "app:staff",
            "Entrypoint": ["/entry", "--flag"],
            "Cmd": ["python3", ""],
            "Labels": {"org.example.a": "1", "Org.Example.A": "2"},
        }
    )
    assert found == ImageConfig(
        env=("PATH=/usr/bin:/bin", "LANG=C.UTF-8", "EMPTY="),
        working_dir="/srv/app",
        user="app:staff",
        entrypoint=("/entry", "--flag"),
        cmd=("python3", ""),
        labels={"org.example.a": "1", "Org.Example.A": "2"},
    )


@pytest.mark.parametrize(
    "config",
    [
        None,
        {},
        dict.fromkeys(["Env", "WorkingDir", "User", "Entrypoint", "Cmd", "Labels"]),
        {"Env": [], "WorkingDir": "", "User": "", "Entrypoint": [], "Cmd": [], "Labels": {}},
        # Not honoured, hence not even looked at
        {"Healthcheck": {"Test": 1}, "Volumes": 7, "OnBuild": {}, "ArgsEscaped": "?", "Shell": 0},
    ],
)
def test_an_image_may_want_nothing(config):
    assert configured(config) == ImageConfig()


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (["A=1", "B=2", "A=3"], ("A=3", "B=2")),
        (["A=b=c", "_a1=x"], ("A=b=c", "_a1=x")),
        (["A=line\nline\t'\"$(x)"], ("A=line\nline\t'\"$(x)",)),
        (["A=ünï\U0001f600"], ("A=ünï\U0001f600",)),
        # No shell could set these
        (["no-name=1", "a.b=1", "1A=1", "=1", "A", "", "A B=1", "A\n=1", "Ä=1", "ok=1"], ("ok=1",)),
        (["x;rm -rf /=1", "$(x)=1", "ok=1"], ("ok=1",)),
        (["A=" + "x" * (131071 - 2)], ("A=" + "x" * (131071 - 2),)),
    ],
)
def test_variables_are_kept_when_a_shell_can_set_them(given, kept):
    assert configured({"Env": given}).env == kept


@pytest.mark.parametrize(
    "path", ["/", "/app", "/procs", "/system", "/a/../b", "//srv", "/srv/proc", "/a b\n'", "/é"]
)
def test_a_directory_is_kept_as_it_is(path):
    assert configured({"WorkingDir": path}).working_dir == path


@pytest.mark.parametrize(
    ("path", "cause"),
    [
        ("app", "no absolute path"),
        ("../app", "no absolute path"),
        ("C:\\app", "no absolute path"),
        ("/a\0b", "NUL byte"),
        ("/proc", "the kernel's own files"),
        ("/proc/self/fd/8", "the kernel's own files"),
        ("//proc/self/fd/8", "the kernel's own files"),
        ("/./proc/self", "the kernel's own files"),
        ("/srv/../proc/self", "the kernel's own files"),
        ("/../../proc/", "the kernel's own files"),
        ("///sys/firmware", "the kernel's own files"),
        ("/" + "a" * 4095, "4096 characters, allowed are 4095"),
        (["/"], "is no string: a list"),
        (7, "is no string: 7"),
        ("/\ud800", "half of a surrogate pair"),
    ],
)
def test_a_directory_that_leads_astray_is_refused(path, cause):
    assert cause in (text := refusal({"WorkingDir": path}))
    assert text.startswith("config.WorkingDir ")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("root", "root"),
        ("www-data", "www-data"),
        ("_apt", "_apt"),
        ("machine$", "machine$"),
        ("first.last@example.org", "first.last@example.org"),
        ("1000", "1000"),
        ("1000:1000", "1000:1000"),
        ("app:1000", "app:1000"),
        ("1000:staff", "1000:staff"),
        ("0:0", "0:0"),
        ("007", "7"),
        ("+5:-0", "5:0"),
        # Docker sees no group here either
        ("1000:", "1000"),
        (f"{MAX}:{MAX}", f"{MAX}:{MAX}"),
        # Names, even if they begin with digits
        ("1000a", "1000a"),
        ("0x10", "0x10"),
        ("1e3", "1e3"),
        ("a" * 255, "a" * 255),
    ],
)
def test_a_user_is_a_name_or_a_number(given, kept):
    assert configured({"User": given}).user == kept


@pytest.mark.parametrize(
    ("user", "cause"),
    [
        # CVE-2024-40635: wrapped to 0. CVE-2026-46680: looked up as a name
        (f"{MAX + 1}", "outside 0 to 2147483647"),
        ("4294967295", "outside 0 to"),
        ("4294967296", "outside 0 to"),
        ("4294967296:4294967296", "outside 0 to"),
        ("18446744073709551616", "outside 0 to"),
        ("9" * 400, "outside 0 to"),
        ("0" * 9 + "4294967296", "outside 0 to"),
        ("-1", "outside 0 to"),
        ("+4294967296", "outside 0 to"),
        ("1000:4294967296", "outside 0 to"),
        ("1000:-1", "outside 0 to"),
        ("app:4294967296", "outside 0 to"),
        (":", "neither USER nor USER:GROUP"),
        (":0", "neither USER nor USER:GROUP"),
        ("a:b:c", "neither USER nor USER:GROUP"),
        ("root:x:0:0::/:/bin/sh", "neither USER nor USER:GROUP"),
        ("1000::", "neither USER nor USER:GROUP"),
        ("root\nevil", "no name of a user"),
        ("app\n", "no name of a user"),
        ("1000\n", "no name of a user"),
        ("app:staff\n", "no name of a user"),
        ("root:\n", "no name of a user"),
        (" root", "no name of a user"),
        ("a b", "no name of a user"),
        ("-u", "no name of a user"),
        ("+", "no name of a user"),
        ("../etc", "no name of a user"),
        ("a/b", "no name of a user"),
        ("DOMAIN\\user", "no name of a user"),
        ("$(id)", "no name of a user"),
        ("a,b", "no name of a user"),
        ("root\0", "no name of a user"),
        ("１０００", "no name of a user"),
        ("müller", "no name of a user"),
        ("a" * 256, "no name of a user"),
        ("a" * 513, "513 characters, allowed are 512"),
        (0, "is no string: 0"),
        (True, "is no string: true"),
        ({"name": "x"}, "is no string: an object"),
    ],
)
def test_a_user_that_is_none_is_refused_not_guessed(user, cause):
    assert cause in (text := refusal({"User": user}))
    assert text.startswith("config.User ")


@pytest.mark.parametrize("key", ["Env", "Entrypoint", "Cmd"])
@pytest.mark.parametrize(
    ("value", "cause"),
    [
        ("sh -c x", "is no list: 'sh -c x'"),
        ({"a": "b"}, "is no list: an object"),
        ([1], "[0] is no string: 1"),
        (["a", None], "[1] is no string: nothing"),
        (["a", ["b"]], "[1] is no string: a list"),
        (["a\0b"], "[0] holds a NUL byte"),
        (["\udfff"], "[0] holds half of a surrogate pair"),
        (["x" * (1 << 17)], "131072 characters, allowed are 131071"),
        (["é" * 70_000], "more than 131071 bytes"),
        (["x"] * 2001, "2001 entries, allowed are 2000"),
        (["x" * 131_000] * 9, "1179000 characters, allowed are 1048576"),
    ],
)
def test_lists_of_strings_are_bounded_and_hold_no_nul(key, value, cause):
    assert cause in (text := refusal({key: value}))
    assert text.startswith(f"config.{key}")


@pytest.mark.parametrize(
    ("labels", "cause"),
    [
        (["a"], "config.Labels is no object: a list"),
        ({"a": 1}, "config.Labels.a is no string: 1"),
        ({"a": {"b": "c"}}, "config.Labels.a is no string: an object"),
        ({"a\n\x1b[31m": 1}, r"config.Labels.'a\n\x1b[31m' is no string"),
        ({"a": "\ud800"}, "config.Labels.a holds half of a surrogate pair"),
        ({"\ud800": "a"}, "config.Labels, a name, holds half of a surrogate pair"),
        ({str(n): "" for n in range(2001)}, "2001 entries, allowed are 2000"),
        ({"a": "x" * (1 << 19), "b": "x" * (1 << 19)}, "allowed are 1048576"),
    ],
)
def test_labels_are_strings_within_bounds(labels, cause):
    assert cause in refusal({"Labels": labels})


@pytest.mark.parametrize("config", [[], "x", 1, True])
def test_what_is_no_object_configures_nothing(config):
    assert "config is no object" in refusal(config)
