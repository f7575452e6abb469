"""What a registry says when it does not give something, as errors for people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from banger_core.api import BangerError, NotFound, Unreachable, quoted
from banger_oci.patience import Patience, retry_after
from banger_oci.transport import Passing

if TYPE_CHECKING:
    from banger_oci.credentials import Credentials
    from banger_oci.reference import Reference
    from banger_oci.transport import Answer

WORDS_MAX = 64 << 10
"""How much of an error's body is read, in bytes."""

_PASSING = frozenset({408, 425, 429})
_NEVER = frozenset({501, 505, 511})


class Denied(Unreachable):
    """The registry wants other credentials than it got, or some."""


class NoSuchImage(NotFound):
    """The registry has no such repository, tag, manifest or blob."""

    def __init__(self, name: str, cause: str, hint: str) -> None:
        BangerError.__init__(self, f"no image named {name!r}", cause=cause, hints=[hint])


class Words:
    """The body of an error (OCI distribution specification, "Error Codes")."""

    def __init__(self, body: bytes) -> None:
        first = _first_error(body)
        code, message = first.get("code"), first.get("message")
        self.code = code.upper() if isinstance(code, str) else ""
        self.message = message if isinstance(message, str) else ""
        self.raw = body[:WORDS_MAX].decode("latin-1")

    def __str__(self) -> str:
        return quoted(self.message or self.code) if self.message or self.code else ""


def _first_error(body: bytes) -> dict[str, Any]:
    try:
        errors = json.loads(body)["errors"]
        return dict(errors[0])
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return {}


async def read_words(answer: Answer) -> Words:
    """Read what an unsuccessful answer says and close it; nothing when that breaks."""
    try:
        body = await answer.read(WORDS_MAX)
    except Passing:
        body = b""
    finally:
        await answer.close()
    return Words(body)


async def check_passing(answer: Answer, patience: Patience) -> None:
    """Raise Passing for a status after which asking again may help; closes the answer then."""
    if answer.status in _PASSING or (answer.status >= 500 and answer.status not in _NEVER):
        words = await read_words(answer)
        after = retry_after(answer.header("Retry-After"), patience.now())
        raise Passing(described(answer.status, words), after)


def described(status: int, words: Words) -> str:
    """Put a status into words."""
    said = f", it says {words}" if str(words) else ""
    return f"HTTP status {status}{said}"


def denied(reference: Reference, credentials: Credentials | None, words: Words) -> Denied:
    """The error for a registry that wants other credentials, or some."""
    registry, said = reference.registry, f"; it says {words}" if str(words) else ""
    if credentials is None:
        return Denied(
            f"{registry} does not give {reference.repository} to everybody",
            cause="there is no such repository, or it is private and no credentials for "
            f"{registry} are known{said}",
            hints=[f"docker login {registry}", "check the spelling of the reference"],
        )
    return Denied(
        f"{registry} does not give {reference.repository} to this user",
        cause=f"it was asked with the credentials from {credentials.source}{said}",
        hints=[f"docker login {registry}", "check the spelling of the reference"],
    )


def withheld(reference: Reference, credentials: Credentials, realm: str, words: Words) -> Denied:
    """The error when nobody was asked with the credentials that there are."""
    said = f"; it says {words}" if str(words) else ""
    return Denied(
        f"{reference.registry} does not give {reference.repository} to everybody",
        cause=f"it sends for a token to {realm}, and the credentials from {credentials.source} "
        f"do not go there{said}",
        hints=[f'if they belong together: token_hosts = {{"{reference.registry}" = "{realm}"}}'],
    )


def missing(reference: Reference, what: str, words: Words) -> NoSuchImage:
    """The error for status 404; ``what`` was asked for."""
    place = f"{reference.registry} has no"
    if words.code == "NAME_UNKNOWN":
        cause = f"{place} repository {reference.repository}"
    else:
        cause = f"{place} {what} in {reference.repository}"
    hint = f"skopeo list-tags docker://{reference.registry}/{reference.repository}"
    return NoSuchImage(reference.familiar, cause, hint)


def refused(reference: Reference, what: str, status: int, words: Words) -> Unreachable:
    """The error for any other status."""
    return Unreachable(
        f"{reference.registry} did not give {what} of {reference.repository}",
        cause=described(status, words),
        hints=["try again later"],
    )
