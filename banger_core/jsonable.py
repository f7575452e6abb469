"""Frozen dataclasses to JSON values and back, by their annotations. Standard library only."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_json(value: Any) -> Any:
    """Return ``value`` as dicts, lists, strings, numbers, booleans and None.

    Raises TypeError for anything that has no place in JSON (bytes, sockets …).
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, str | Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_json(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no JSON form")


def from_json(kind: type[T], data: Any) -> T:
    """Rebuild a ``kind`` from what ``to_json`` gave.

    Unknown keys are ignored, so that an older program reads what a newer one wrote; a missing
    key without default or a value of the wrong shape raises ValueError.
    """
    try:
        return _build(kind, data)  # type: ignore[no-any-return]
    except (TypeError, KeyError, AttributeError) as problem:
        raise ValueError(f"not a {kind.__name__}: {problem}") from problem


@cache
def _hints(kind: type) -> dict[str, Any]:
    # Modules of plain data import these for type checkers only, to stay light
    return get_type_hints(kind, localns={"Mapping": Mapping, "Path": Path})


def _build(kind: Any, data: Any) -> Any:
    origin, args = get_origin(kind), get_args(kind)
    if kind is Any:
        return data
    if origin in (Union, types.UnionType):
        if data is None:
            return None
        return _build(next(arg for arg in args if arg is not type(None)), data)
    if origin is Literal:
        if data not in args:
            raise ValueError(f"{data!r} is none of {args}")
        return data
    if origin in (tuple, list):
        return _sequence(origin, args, data)
    if origin is not None and issubclass(origin, Mapping):
        return {_build(args[0], key): _build(args[1], item) for key, item in data.items()}
    if dataclasses.is_dataclass(kind):
        hints = _hints(kind)  # type: ignore[arg-type]
        names = {f.name for f in dataclasses.fields(kind)}
        return kind(**{key: _build(hints[key], data[key]) for key in data if key in names})  # type: ignore[operator]
    if kind is float and isinstance(data, int) and not isinstance(data, bool):
        return float(data)
    if isinstance(kind, type) and issubclass(kind, Enum | Path):
        return kind(data)
    if not isinstance(data, kind) or (kind is int and isinstance(data, bool)):
        raise ValueError(f"{data!r} is no {kind.__name__}")
    return data


def _sequence(origin: type, args: tuple[Any, ...], data: Any) -> Any:
    if not isinstance(data, list | tuple):
        raise ValueError(f"{data!r} is no list")
    if origin is tuple and not (len(args) == 2 and args[1] is Ellipsis):
        return tuple(_build(arg, item) for arg, item in zip(args, data, strict=True))
    return origin(_build(args[0], item) for item in data)
