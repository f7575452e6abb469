"""The fold of SSH policy layers: precedence, locks, ties, tightening."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from banger_core.contracts import SshPatch
from banger_core.errors import Conflict, NotFound, UsageProblem
from banger_core.plan.ssh_keys import KEYS
from banger_core.plan.ssh_policy import Authority, PolicyLayer, fold, patch_of


def layer(origin, authority, precedence=0, lock=(), **values):
    return PolicyLayer(
        origin=origin,
        authority=authority,
        precedence=precedence,
        patch=SshPatch(set=values, lock=frozenset(lock)),
    )


def plugin(origin, precedence=100, **more):
    return layer(origin, Authority.PLUGIN, precedence, **more)


def user(**more):
    return layer("user", Authority.USER, **more)


def project(**more):
    return layer("project", Authority.PROJECT, **more)


def admin(origin="admin", precedence=900, **more):
    return layer(origin, Authority.ADMIN, precedence, **more)


def test_without_layers_every_key_has_its_safe_default():
    settings = fold([])
    assert settings.keys() == KEYS.keys()
    assert all(s.origin == "core" and not s.locked_by and not s.ignored for s in settings.values())
    assert settings["agent_forwarding"].value is False
    assert settings["user"].value == "root"


def test_the_highest_setter_wins_and_the_losers_are_named_highest_first():
    found = fold(
        [
            plugin("a", 10, connect_timeout=1),
            admin(connect_timeout=4),
            user(connect_timeout=3),
            plugin("b", 20, connect_timeout=2),
        ]
    )["connect_timeout"]
    assert (found.value, found.origin, found.locked_by) == (4, "admin", "")
    assert found.ignored == (("user", 3), ("b", 2), ("a", 1))


def test_whoever_wants_the_same_has_not_lost():
    found = fold([user(compression=True), admin(compression=True)])["compression"]
    assert (found.origin, found.ignored) == ("admin", ())


@pytest.mark.parametrize("declared", [-5, 0, 499, 500, 950, 10**6])
def test_a_plugin_grants_itself_nothing(declared):
    greedy = plugin("greedy", declared, lock=["agent_forwarding"], agent_forwarding=True)
    assert 1 <= greedy.rank <= 499
    found = fold([greedy, user(agent_forwarding=False)])["agent_forwarding"]
    assert (found.value, found.origin, found.locked_by) == (False, "user", "")
    assert found.ignored == (("greedy", True),)


def test_a_plugin_cannot_lock_another():
    found = fold([plugin("high", 300, lock=["compression"]), plugin("low", 20, compression=True)])[
        "compression"
    ]
    assert (found.value, found.locked_by) == (True, "")


def test_a_lock_holds_against_everyone_below():
    found = fold(
        [
            admin(lock=["agent_forwarding"], agent_forwarding=False),
            user(agent_forwarding=True),
            plugin("p", agent_forwarding=True),
        ]
    )["agent_forwarding"]
    assert (found.value, found.origin, found.locked_by) == (False, "admin", "admin")
    assert found.ignored == (("user", True), ("p", True))


def test_a_lock_without_a_value_keeps_the_default():
    found = fold([admin(lock=["agent_forwarding"]), user(agent_forwarding=True)])
    setting = found["agent_forwarding"]
    assert (setting.value, setting.origin, setting.locked_by) == (False, "core", "admin")
    assert setting.ignored == (("user", True),)


def test_a_higher_layer_may_change_what_a_lower_one_locked():
    found = fold([admin("low", 900, lock=["user"], user="ops"), admin("high", 950, user="root")])[
        "user"
    ]
    assert (found.value, found.origin, found.locked_by) == ("root", "high", "low")
    assert found.ignored == (("low", "ops"),)


def test_a_tie_on_a_locked_key_names_both():
    with pytest.raises(Conflict) as problem:
        fold([admin("one", lock=["user"], user="ops"), admin("two", user="dev")])
    assert "one" in problem.value.summary
    assert "two" in problem.value.summary
    assert "'ops'" in problem.value.cause
    assert "'dev'" in problem.value.cause


def test_a_lock_without_a_value_and_another_value_are_a_tie_too():
    with pytest.raises(Conflict, match="agent_forwarding"):
        fold([admin("one", lock=["agent_forwarding"]), admin("two", agent_forwarding=True)])


def test_those_who_lock_the_same_agree():
    found = fold([admin("b", lock=["user"], user="ops"), admin("a", lock=["user"], user="ops")])[
        "user"
    ]
    assert (found.value, found.locked_by) == ("ops", "a, b")


def test_on_a_free_key_the_later_name_wins():
    found = fold([plugin("b", user="b"), plugin("a", user="a")])["user"]
    assert (found.value, found.ignored) == ("b", (("a", "a"),))


@pytest.mark.parametrize(
    ("below", "wanted", "wins"),
    [
        ({"agent_forwarding": True}, {"agent_forwarding": False}, True),
        ({"agent_forwarding": False}, {"agent_forwarding": True}, False),
        ({"multiplex": True}, {"multiplex": False}, True),
        ({}, {"ciphers": "-aes128-*"}, True),
        ({}, {"ciphers": "aes128-cbc"}, False),
        ({}, {"ciphers": "+aes128-cbc"}, False),
        ({"ciphers": "aes256-ctr,aes128-ctr"}, {"ciphers": "aes256-ctr"}, True),
        ({"ciphers": "aes256-ctr"}, {"ciphers": "aes256-ctr,aes128-cbc"}, False),
        ({"ciphers": "aes256-ctr"}, {"ciphers": "-aes128-cbc"}, False),
        ({"ciphers": "aes256-ctr"}, {"ciphers": ""}, False),
        ({"ciphers": "-a"}, {"ciphers": "-a,b"}, True),
        ({"ciphers": "-a,b"}, {"ciphers": "-a"}, False),
        ({"ciphers": "+a"}, {"ciphers": "-b"}, False),
        ({}, {"user": "somebody"}, False),
        ({}, {"connect_timeout": 1}, False),
    ],
)
def test_a_project_only_tightens(below, wanted, wins):
    (key, value) = next(iter(wanted.items()))
    found = fold([user(**below), project(**wanted)])[key]
    assert (found.origin == "project") is wins
    assert (found.value == value) is wins
    if not wins:
        assert found.ignored == (("project", value),)


def test_a_projects_lock_does_not_bring_back_a_default():
    found = fold([project(lock=["multiplex"]), user(multiplex=False)])["multiplex"]
    assert (found.value, found.locked_by) == (False, "")


def test_the_order_of_layers_never_matters():
    layers = [
        plugin("a", 10, user="a", ciphers="-x"),
        plugin("b", 10, user="b"),
        user(agent_forwarding=True, multiplex=False),
        project(ciphers="-x,y"),
        admin(lock=["agent_forwarding"]),
    ]
    assert len({str(fold(order)) for order in itertools.permutations(layers)}) == 1


def test_an_unknown_key_names_the_nearest_and_who_asked():
    with pytest.raises(NotFound) as problem:
        fold([user(agent_forwardin=False)])
    assert "did you mean agent_forwarding?" in problem.value.hints
    assert any("user" in hint for hint in problem.value.hints)
    with pytest.raises(NotFound):
        fold([project(lock=["agent_forwardin"])])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("agent_forwarding", 1),
        ("agent_forwarding", "no"),
        ("connect_timeout", True),
        ("connect_timeout", 0),
        ("connect_timeout", 2.5),
        ("user", "-oProxyCommand=x"),
        ("user", "a b"),
        ("user", "a\n"),
        ("user", ""),
        ("ciphers", "aes128-ctr\nProxyCommand x"),
        ("ciphers", "aes128-ctr ProxyCommand"),
        ("ciphers", ["a", 1]),
        ("ciphers", 'a"b'),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_its_origin(key, value):
    with pytest.raises(UsageProblem) as problem:
        fold([user(**{key: value})])
    assert key in problem.value.summary
    assert "user" in problem.value.summary


def test_lists_and_text_say_the_same():
    assert fold([user(ciphers=["-a", "b"])]) == fold([user(ciphers="-a,b")])


def test_a_table_with_locks():
    assert patch_of({"user": "x", "lock": ["user"]}, "f") == SshPatch(
        set={"user": "x"}, lock=frozenset({"user"})
    )
    with pytest.raises(UsageProblem, match="lock"):
        patch_of({"lock": "user"}, "f")


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(Authority)),
            st.integers(-1000, 2000),
            st.booleans() | st.none(),
            st.booleans(),
        ),
        max_size=6,
    )
)
def test_an_administrators_lock_is_never_escaped(others):
    """Whatever others declare, a locked key has the value of the highest administrator."""
    layers = [
        layer(
            f"l{number}",
            authority,
            precedence,
            lock=["agent_forwarding"] if locks else (),
            **({} if value is None else {"agent_forwarding": value}),
        )
        for number, (authority, precedence, value, locks) in enumerate(others)
        if authority is not Authority.ADMIN
    ]
    found = fold([*layers, admin(lock=["agent_forwarding"], agent_forwarding=False)])
    assert found["agent_forwarding"].value is False
    assert found["agent_forwarding"].locked_by == "admin"
