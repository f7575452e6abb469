"""References to images in registries, by Docker's rules (distribution/reference)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference taken apart and made complete.

    ``registry`` is ``HOST[:PORT]`` (``docker.io`` for Docker Hub), ``repository`` has its
    ``library/``. Either ``digest`` or ``tag`` is empty: with both given the digest decides.
    """

    registry: str
    repository: str
    tag: str
    digest: str

    @property
    def selector(self) -> str:
        """What the registry is asked for: the digest, or else the tag."""
        return self.digest or self.tag
