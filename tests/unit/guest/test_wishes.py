"""What the image wants, as the guest's shell reads it."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from banger_core.errors import IntegrityError
from banger_core.guest.wishes import image_profile, image_wishes
from banger_core.model import ImageConfig

SHELLS = [["sh"], *([["busybox", "sh"]] if shutil.which("busybox") else [])]

STUBS = r"""
pack=ours mode=ours words=ours
as_user() { printf '%s\0' "$@"; }
start_found() { printf '%s\0' "$@"; }
"""


def understood(lines: bytes, expression: str, shell=("sh",)) -> list[str]:
    """The words that ``expression`` gives once a shell has read the lines."""
    script = STUBS.encode() + lines + b"\n" + expression.encode()
    done = subprocess.run([*shell], input=script, capture_output=True, check=True)
    assert done.stderr == b""
    return done.stdout.decode().split("\0")[:-1]


HOSTILE = [
    "it's",
    "$(id >&2)",
    "`id >&2`",
    "a\nid >&2\n",
    '"; id >&2; "',
    "\\",
    "; exit 3",
    "é \x1b[31m",
    " ",
    "*",
    "--",
    "-n",
    "}",
    "' 'x",
]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("value", HOSTILE)
def test_hostile_words_stay_words(shell, value):
    config = ImageConfig(
        env=(f"NAME={value}", f"{value}=x", f"PATH={value}", "bare"),
        user=value,
        working_dir=f"/{value}",
        entrypoint=(value, "x"),
        cmd=(value,),
    )
    lines = image_wishes(config, "web")
    passed = [f"NAME={value}", f"{value}=x"]
    assert understood(lines, "with_image_environment A=1 -- p", shell) == [
        *passed,
        "A=1",
        "--",
        "p",
    ]
    shown = 'printf "%s\\0" "$image_user" "$image_workdir" "$image_PATH" "$machine"'
    assert understood(lines, shown, shell) == [value, f"/{value}", value, "web"]
    assert understood(lines, "start_image_program", shell) == [value, "x", value]
    assert understood(lines, "start_image_program a 'b c'", shell) == [value, "x", "a", "b c"]
    profile = image_profile(config)
    expected = f"{value}:/run/banger/tools"
    assert understood(profile, 'printf "%s\\0" "$PATH"', shell) == [expected]


def test_no_variable_of_the_image_becomes_one_of_the_shell():
    """Whatever they are called: the guest's scripts have variables, too."""
    names = (
        "pack",
        "mode",
        "words",
        "IFS",
        "PATH",
        "ENV",
        "LD_PRELOAD",
        "PS4",
        "a.b",
        "1x",
        "image_user",
    )
    config = ImageConfig(env=tuple(f"{name}=theirs" for name in names))
    lines = image_wishes(config, "web")
    shown = 'printf "%s\\0" "$pack" "$mode" "$words" "${LD_PRELOAD-}" "$image_user"; env'
    first, *rest = understood(lines, shown)[:5]
    assert [first, *rest] == ["ours", "ours", "ours", "", ""]
    passed = understood(lines, "with_image_environment")
    assert passed == [f"{name}=theirs" for name in names if name != "PATH"]


def test_what_a_session_has_a_value_for_is_told_apart():
    env = ("HOME=/h", "TERM=", "A=1", "SHELL=/s", "A=2", "SSH_TTY=/dev/null", "=x", "N=\0")
    lines = image_wishes(ImageConfig(env=env), "web")
    shown = (
        'printf "%s\\0" "$image_HOME" "${image_TERM-unset}" "$image_SHELL" "${image_USER-unset}"'
    )
    assert understood(lines, shown) == ["/h", "", "/s", "unset"]
    # The last of several holds, and nobody else says how one is connected
    assert understood(lines, "with_image_environment") == ["A=2"]


@pytest.mark.parametrize(
    ("entrypoint", "cmd", "arguments", "expected"),
    [
        (("/e", "1"), ("c",), "", ["/e", "1", "c"]),
        (("/e", "1"), ("c",), "a", ["/e", "1", "a"]),
        (("/e",), (), "", ["/e"]),
        ((), ("/c", "2"), "", ["/c", "2"]),
        ((), ("/c", "2"), "a b", ["a", "b"]),
        ((), (), "", []),
        ((), (), "a b", ["a", "b"]),
    ],
)
def test_the_program_is_entry_point_and_arguments_or_command(entrypoint, cmd, arguments, expected):
    lines = image_wishes(ImageConfig(entrypoint=entrypoint, cmd=cmd), "web")
    assert understood(lines, f"start_image_program {arguments}") == expected


def test_what_is_shown_obeys_nobody_and_is_short():
    lines = image_wishes(ImageConfig(user="a\x1b[2J\n\u202eé" + "x" * 500), "web")
    (shown,) = understood(lines, 'printf "%s\\0" "$image_shown_user"')
    assert shown.startswith("a?[2J???xxx")
    assert len(shown) < 100


def test_half_a_character_is_none(tmp_path):
    lines = image_wishes(ImageConfig(env=("A=\ud800",), user="\udc80"), "web")
    assert understood(lines, "with_image_environment") == ["A=?"]


def test_a_thousand_variables_are_passed_on():
    env = tuple(f"NAME_{number}=value {number}" for number in range(1000))
    assert understood(image_wishes(ImageConfig(env=env), "web"), "with_image_environment") == [*env]


@pytest.mark.parametrize(
    "env", [("A=" + "x" * 131070,), tuple(f"N{n}=" + "x" * 9999 for n in range(110))]
)
def test_more_than_a_program_can_be_given_is_refused(env):
    with pytest.raises(IntegrityError, match="no program can be started"):
        image_wishes(ImageConfig(env=env), "web")


def test_the_longest_variable_is_taken():
    variable = "A=" + "x" * 131068
    lines = image_wishes(ImageConfig(env=(variable,)), "web")
    assert understood(lines, "with_image_environment") == [variable]


def test_a_login_shell_finds_the_tools_once():
    lines = image_profile(ImageConfig())
    expression = 'printf "%s\\0" "$PATH"'
    assert understood(b"PATH=/bin\n" + lines + lines, expression) == ["/bin:/run/banger/tools"]
