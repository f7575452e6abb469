"""What a feed has offered before, so that it cannot quietly go back on it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from banger_core.api import Conflict, IntegrityError, write_atomic
from banger_kernels.versions import order

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from banger_kernels.document import Offer


class Seen:
    """The highest version and its digest, by the kernel's name, of one feed.

    Raises IntegrityError when the file is there and cannot be read: to forget would be to trust.
    """

    def __init__(self, path: Path, feed: str) -> None:
        self._path, self._feed = path, feed
        self._names: dict[str, dict[str, str]] = {}
        try:
            content = json.loads(path.read_bytes())
            for name, known in content["names"].items():
                self._names[name] = {"version": known["version"], "digest": known["digest"]}
        except FileNotFoundError:
            return
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as problem:
            raise IntegrityError(
                f"what feed {feed} offered before cannot be read",
                cause=f"{path}: {problem}",
                hints=[f"rm {path}, which trusts whatever it offers now"],
            ) from problem

    def problems(self, offers: Mapping[str, Offer]) -> dict[str, Conflict]:
        """Compare, remember what is new or higher, and return what is wrong, by name."""
        wrong: dict[str, Conflict] = {}
        before = json.dumps(self._names)
        for name, offer in offers.items():
            now = {"version": offer.kernel_version, "digest": offer.digest}
            known = self._names.setdefault(name, now)
            if order(now["version"]) > order(known["version"]):
                self._names[name] = now
            elif now != known:
                wrong[name] = self._problem(name, known, now)
        if json.dumps(self._names) != before:
            self._save()
        return wrong

    def accept(self, offer: Offer) -> None:
        """Take an offer, whatever was there before."""
        self._names[offer.name] = {"version": offer.kernel_version, "digest": offer.digest}
        self._save()

    def _save(self) -> None:
        write_atomic(self._path, json.dumps({"names": self._names}, indent=1))

    def _problem(self, name: str, known: Mapping[str, str], now: Mapping[str, str]) -> Conflict:
        hints = [f"banger kernel pull --force feeds://{self._feed}/{name}, if that is meant"]
        if now["version"] != known["version"]:
            return Conflict(
                f"kernel {name} would go back to {now['version']}",
                cause=f"feed {self._feed} offered {known['version']} before",
                hints=hints,
            )
        return Conflict(
            f"kernel {name} {now['version']} is another one than before",
            cause=f"feed {self._feed} offered {known['digest']}, now {now['digest']}",
            hints=hints,
        )
