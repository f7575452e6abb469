"""What does not exist: what was asked, what there is, the nearest name."""

from __future__ import annotations

import pytest

from banger_core.testing.fakes import CONFIG

CREATE = ("vm", "create", "--name", "a")
VERBS = (("show",), ("start",), ("stop",), ("delete",), ("logs",), ("exec",), ("ssh",))


@pytest.mark.parametrize(
    ("words", "error", "cause", "hint"),
    [
        ((*CREATE, "nosuch://x"), "no image scheme named 'nosuch'", "fake", "banger plugin list"),
        ((*CREATE, "debian://x"), "no image scheme named 'debian'", "fake", "banger plugin list"),
        ((*CREATE, "oci://x"), "no image scheme named 'oci'", "fake", "banger-oci"),
        ((*CREATE, "fake://missing"), "no image named 'fake://missing'", "small", "fake://small"),
        (("image", "pull", "fake://missing"), "no image named", "small", "fake://small"),
        (("image", "pull", "://"), "'://' names no image", "SCHEME://REF", "banger image list"),
        (("image", "pull", ""), "'' names no image", "SCHEME://REF", "banger image list"),
        (("image", "show", "smal"), "no image named 'smal'", "small", "did you mean small?"),
        (("image", "show", "fake://smal"), "no image named 'fake://smal'", "small", "small?"),
        ((*CREATE, "--kernel-ref", "nosuch"), "no kernel named 'nosuch'", "fake-kernel", "list"),
        (("kernel", "show", "nosuch"), "no kernel named 'nosuch'", "fake-kernel", "--available"),
        (("kernel", "show", "fake-kernl"), "no kernel", "fake-kernel", "did you mean fake-kernel?"),
        (("kernel", "pull", "nosuch"), "no kernel named 'nosuch'", "fake-kernel", "--available"),
        (("kernel", "pull", "nosuch://x"), "no kernel provider named 'nosuch'", "fake", "plugin"),
        (("vm", "show", "wbe"), "no VM named 'wbe'", "web", "did you mean web?"),
        (("vm", "show", "../../etc"), "'../../etc' is no name and no id", "id", "banger vm list"),
        (("vm", "show", ""), "'' is no name and no id", "id", "banger vm list"),
        ((*CREATE, "--driver", "nosuch"), "no VM driver named 'nosuch'", "fake", "plugin list"),
        ((*CREATE, "--network", "usr"), "no network named 'usr'", "user", "did you mean user?"),
    ],
)
def test_unknown_names_are_answered_with_those_that_exist(lived_in, words, error, cause, hint):
    failure = lived_in.refuses(*words)
    assert error in failure.error
    assert cause in failure.cause
    assert hint in " | ".join(failure.hints)


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_every_verb_knows_the_machines_there_are(lived_in, verb):
    words = ["true"] if verb == ("exec",) else []
    failure = lived_in.fails("vm", *verb, "wbe", *words, code=2)
    assert failure.error == "no VM named 'wbe'"
    assert failure.cause == "there is: web"
    assert failure.hints == ("did you mean web?", "banger vm list")


@pytest.mark.parametrize(("noun", "verb"), [("image", "delete"), ("kernel", "rm")])
def test_what_is_not_here_cannot_be_removed(lived_in, noun, verb):
    failure = lived_in.fails(noun, verb, "nosuch", code=2)
    assert failure.error == f"no {noun} named 'nosuch'"
    assert f"banger {noun} list" in failure.hints


def test_bare_name_whose_source_is_not_installed(house):
    house.configure(CONFIG.replace('default_source = "fake"', 'default_source = "oci"'))
    failure = house.refuses("vm", "create", "debian")
    assert failure.error == "no image named 'debian'"
    assert failure.cause == "there is no image yet"
    assert "fake://" in failure.hints[0]
    assert "banger-oci" in failure.hints[1]
    assert "'oci'" in failure.hints[2]
    # The same words are an image once there is one of that name
    house.ok("image", "pull", "fake://debian")
    house.ok("vm", "create", "debian")
    house.close()


def test_scheme_with_no_plugin_at_all_says_what_to_install(house):
    bare = house.with_env(BANGER_PLUGINS="")
    for scheme in ("oci", "oci-layout", "docker-archive"):
        failure = bare.refuses("image", "pull", f"{scheme}://x")
        assert failure.error == f"no image scheme named '{scheme}'"
        assert failure.cause == "there is no image scheme yet"
        assert "banger-oci" in failure.hints[0]
    bare.ok("daemon", "stop")
