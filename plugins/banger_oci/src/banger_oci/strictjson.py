"""JSON that nobody vouches for: read within bounds, then taken apart field by field.

Stricter than RFC 8259 where readers disagree and a document could mean two things: UTF-8 only, no
name twice in an object, no NaN, no half of a surrogate pair. ``null`` is the same as a field that
is not there, because Go writes it for empty lists.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from banger_core.api import HostileInput

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_VALUES_MAX = 200_000
_SIZE_MAX = 1 << 40
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ADVICE = "try another tag, or tell whoever publishes the image"


class _Refused(ValueError):
    """JSON that is well-formed and still not taken."""


class Fields:
    """One JSON object of ``document``; ``place`` is where in it, for messages."""

    __slots__ = ("_values", "document", "place")

    def __init__(self, values: Mapping[str, Any], document: str, place: str = "") -> None:
        self._values = {key: value for key, value in values.items() if value is not None}
        self.document = document
        self.place = place

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def malformed(self, key: str, cause: str) -> HostileInput:
        """The error to raise for a field (or, with an empty ``key``, for the object itself)."""
        return malformed(self.document, f"{self._at(key)} {cause}".strip())

    def text(self, key: str, *, default: str | None = None, limit: int = 255) -> str:
        """A string of at most ``limit`` characters; must be there unless there is a default."""
        value = self._values.get(key, default)
        if value is None:
            raise self.malformed(key, "is missing")
        return self._checked(key, value, limit)

    def size(self, key: str) -> int:
        """A number of bytes, at most 2^40."""
        value = self.number(key)
        if value is None or not 0 <= value <= _SIZE_MAX:
            raise self.malformed(key, f"is no size in bytes: {_shown(value)}")
        return value

    def number(self, key: str) -> int | None:
        """A whole number, or None when there is none."""
        value = self._values.get(key)
        # True is an int to Python, 1.0 is none to Go
        if value is not None and type(value) is not int:
            raise self.malformed(key, f"is no whole number: {_shown(value)}")
        return value

    def digest(self, key: str) -> str:
        """A digest of the form ``sha256:HEX``, fit for a path or an address."""
        return self._checked_digest(key, self._values.get(key))

    def digests(self, key: str, *, limit: int) -> tuple[str, ...]:
        """A list of digests."""
        items = enumerate(self._list(key, limit))
        return tuple(self._checked_digest(f"{key}[{at}]", item) for at, item in items)

    def texts(self, key: str, *, count: int, limit: int) -> tuple[str, ...]:
        """A list of strings: at most ``count``, each of at most ``limit`` characters."""
        items = enumerate(self._list(key, count))
        return tuple(self._checked(f"{key}[{at}]", item, limit) for at, item in items)

    def strings(self, key: str, *, count: int, limit: int) -> dict[str, str]:
        """An object that maps strings to strings, bounded like a list."""
        inner = self.inner(key)
        if inner is None:
            return {}
        names = list(inner)
        if len(names) > count:
            raise self.malformed(key, f"has {len(names)} entries, allowed are {count}")
        return {
            self._checked(f"{key}, a name,", name, limit): inner.text(name, limit=limit)
            for name in names
        }

    def inner(self, key: str) -> Fields | None:
        """The object in a field, or None when there is none."""
        if key not in self._values:
            return None
        return self._object(key, self._values[key])

    def each(self, key: str, *, limit: int) -> list[Fields]:
        """The objects of a list, at most ``limit``."""
        items = enumerate(self._list(key, limit))
        return [self._object(f"{key}[{at}]", item) for at, item in items]

    def _list(self, key: str, limit: int) -> list[Any]:
        value = self._values.get(key, [])
        if not isinstance(value, list):
            raise self.malformed(key, f"is no list: {_shown(value)}")
        if len(value) > limit:
            raise self.malformed(key, f"has {len(value)} entries, allowed are {limit}")
        return value

    def _object(self, key: str, value: object) -> Fields:
        if not isinstance(value, dict):
            raise self.malformed(key, f"is no object: {_shown(value)}")
        return Fields(value, self.document, self._at(key))

    def _checked(self, key: str, value: object, limit: int) -> str:
        if not isinstance(value, str):
            raise self.malformed(key, f"is no string: {_shown(value)}")
        if len(value) > limit:
            raise self.malformed(key, f"has {len(value)} characters, allowed are {limit}")
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            raise self.malformed(key, "holds half of a surrogate pair")
        return value

    def _checked_digest(self, key: str, value: object) -> str:
        if not isinstance(value, str) or not _DIGEST.fullmatch(value):
            raise self.malformed(key, f"is no sha256 digest: {_shown(value)}")
        return value

    def _at(self, key: str) -> str:
        key = key if len(key) <= 60 and key.isprintable() and key.isascii() else repr(key[:40])
        return f"{self.place}.{key}".strip(".")


def read_object(data: bytes, document: str, limit: int) -> Fields:
    """Read one JSON object of at most ``limit`` bytes; ``document`` is what messages call it.

    Raises HostileInput. Time and memory are bounded by ``limit``.
    """
    if len(data) > limit:
        raise malformed(document, f"it has {len(data)} bytes, allowed are {limit}")
    # An empty list takes three bytes here and sixty in memory
    if sum(map(data.count, (b",", b"[", b"{"))) > _VALUES_MAX:
        raise malformed(document, f"it has more than {_VALUES_MAX} values")
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except UnicodeDecodeError as problem:
        raise malformed(document, f"it is no UTF-8 at byte {problem.start}") from None
    except _Refused as refused:
        raise malformed(document, str(refused)) from None
    except RecursionError:
        raise malformed(document, "it is nested too deeply") from None
    except ValueError:
        raise malformed(document, f"it is no JSON: it begins {data[:40]!r}") from None
    if not isinstance(value, dict):
        raise malformed(document, f"it is no JSON object: {_shown(value)}")
    return Fields(value, document)


def malformed(document: str, cause: str) -> HostileInput:
    """The error for a ``document`` that honest tools do not write."""
    return HostileInput(f"the image's {document} is malformed", cause=cause, hints=[_ADVICE])


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise _Refused(f"the name {twice[:40]!r} stands twice in one object")
    return found


def _no_constant(name: str) -> None:
    raise _Refused(f"{name} is no JSON")


def _shown(value: object) -> str:
    """A short, printable form of a value of any size."""
    if isinstance(value, str):
        return repr(value[:80])
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    return "nothing" if value is None else json.dumps(value)[:40]
