"""Every frozen value of the model survives JSON, whatever is in it."""

from __future__ import annotations

import dataclasses
import json
import os
import types
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from banger_core import model
from banger_core.jsonable import _hints, from_json, to_json
from banger_core.model import Forward, ImageRef, LaunchSpec, VmRecord, VmRequest

NOT_JSON = {model.Entry, model.SshSetting}
KINDS = [
    kind
    for kind in vars(model).values()
    if dataclasses.is_dataclass(kind) and kind.__module__ == model.__name__ and kind not in NOT_JSON
]

PATHS = st.binary(min_size=1, max_size=20).map(lambda raw: Path(os.fsdecode(raw)))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=3,
)
PLAIN = {
    str: st.text(max_size=8),
    int: st.integers(),
    bool: st.booleans(),
    float: st.floats(allow_nan=False),
    Path: PATHS,
    Any: VALUES,
}


def anything(kind: Any) -> st.SearchStrategy[Any]:
    """A strategy from annotations, independent of the code under test except for their look-up."""
    origin, args = get_origin(kind), get_args(kind)
    if kind in PLAIN:
        return PLAIN[kind]
    if origin in (Union, types.UnionType):
        return st.one_of([st.none() if arg is type(None) else anything(arg) for arg in args])
    if origin is Literal:
        return st.sampled_from(args)
    if origin is tuple and args[-1] is Ellipsis:
        return st.lists(anything(args[0]), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*map(anything, args))
    if origin is Mapping:
        return st.dictionaries(anything(args[0]), anything(args[1]), max_size=2)
    if issubclass(kind, Enum):
        return st.sampled_from(kind)
    hints = _hints(kind)
    return st.builds(kind, **{f.name: anything(hints[f.name]) for f in dataclasses.fields(kind)})


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_round_trip(kind):
    @settings(max_examples=20, deadline=None)
    @given(anything(kind))
    def check(value):
        text = json.dumps(to_json(value))
        assert from_json(kind, json.loads(text)) == value

    check()


def test_paths_as_keys_come_back_as_paths():
    spec = LaunchSpec(driver="d", argv=("a",), files={Path("/x/\udcff"): "1"})
    back = from_json(LaunchSpec, json.loads(json.dumps(to_json(spec))))
    assert back == spec
    assert [type(key) for key in back.files] == [type(Path())]


def test_unknown_keys_are_ignored_and_defaults_filled_in():
    assert from_json(VmRequest, {"image": "x", "later": 1}) == VmRequest(image="x")


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (ImageRef, {"scheme": "a"}),
        (ImageRef, {"scheme": "a", "rest": 1}),
        (ImageRef, None),
        (VmRecord, []),
        (VmRequest, {"vcpu": "2"}),
        (VmRequest, {"vcpu": True}),
        (VmRequest, {"accel": "hvf"}),
        (VmRequest, {"labels": ["x"]}),
        (LaunchSpec, {"driver": "d", "argv": "not a list"}),
        (Forward, {"host_address": "x", "host_port": 1.5, "guest_port": 2}),
    ],
)
def test_wrong_shapes_are_value_errors(kind, data):
    with pytest.raises(ValueError):
        from_json(kind, data)


def test_what_has_no_json_form_is_refused():
    with pytest.raises(TypeError):
        to_json({"key": b"bytes"})
