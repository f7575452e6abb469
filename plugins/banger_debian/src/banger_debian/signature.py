"""Clear-signed documents (RFC 9580, section 7), judged by gpgv."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from banger_core.api import HostNotReady, IntegrityError, install_command, write_atomic
from banger_debian.process import follow
from banger_debian.settings import KEYRING_PACKAGE

_BEGIN = b"-----BEGIN PGP SIGNED MESSAGE-----"
_SIGNATURE = b"-----BEGIN PGP SIGNATURE-----"
_END = b"-----END PGP SIGNATURE-----"
_ARMOUR = re.compile(rb"^-----[^\n]*$", re.MULTILINE)

_STATUS = "[GNUPG:] "


async def signed_text(document: bytes, keyring: Path, *, what: str, scratch: Path) -> bytes:
    """Return the text of ``document`` that a key of ``keyring`` has signed, and nothing else.

    One good signature is enough, since archives sign with the keys of the next release too; a bad
    one is never forgiven. ``what`` names the document in errors, ``scratch`` is a private
    directory. Raises IntegrityError, and HostNotReady when gpgv or the keyring is missing.
    """
    _check_frame(document, what)
    if not keyring.is_file():
        raise HostNotReady(
            f"there is no keyring {keyring}",
            cause="without it nothing of the Debian archive can be verified",
            hints=[install_command(KEYRING_PACKAGE), "or set plugins.debian.keyring"],
        )
    with tempfile.TemporaryDirectory(dir=scratch, prefix="gpgv-") as place:
        signed, text = Path(place, "signed"), Path(place, "text")
        write_atomic(signed, document)
        status: list[str] = []
        argv = ["gpgv", "--homedir", place, "--weak-digest", "SHA1", "--status-fd", "1"]
        argv += ["--keyring", str(keyring), "--output", str(text), str(signed)]
        await follow(argv, take=status.append, stderr=False)
        _judge(status, what)
        return text.read_bytes()


def _check_frame(document: bytes, what: str) -> None:
    """Refuse whatever stands outside of one signed message: some readers would believe it."""
    armour = _ARMOUR.findall(document.replace(b"\r\n", b"\n"))
    framed = document.startswith(_BEGIN) and document.rstrip().endswith(_END)
    if not framed or armour != [_BEGIN, _SIGNATURE, _END]:
        raise IntegrityError(
            f"{what} is not properly signed",
            cause="it is not exactly one clear-signed message",
            hints=[
                "look at what answers: a captive portal or proxy may stand in place of the mirror"
            ],
        )


def _judge(status: list[str], what: str) -> None:
    words = [line.removeprefix(_STATUS).split() for line in status if line.startswith(_STATUS)]
    verdicts = {found[0]: " ".join(found[1:]) for found in words if found}
    if "BADSIG" in verdicts:
        raise IntegrityError(f"{what} has a wrong signature", cause=verdicts["BADSIG"])
    # GOODSIG stands for a key that is neither expired nor revoked, VALIDSIG for the check itself
    if "GOODSIG" not in verdicts or "VALIDSIG" not in verdicts:
        raise IntegrityError(
            f"{what} is not signed by a trusted key",
            cause=_refusal(verdicts),
            hints=[f"{install_command(KEYRING_PACKAGE)}   (the newest one)"],
        )


def _refusal(verdicts: dict[str, str]) -> str:
    meanings = {
        "EXPKEYSIG": "the key has expired",
        "REVKEYSIG": "the key has been revoked",
        "EXPSIG": "the signature has expired",
        "NO_PUBKEY": "no such key in the keyring",
        "ERRSIG": "the signature cannot be checked",
    }
    for verdict, meaning in meanings.items():
        if verdict in verdicts:
            return f"{meaning}: {verdicts[verdict]}"
    return "gpgv found no signature"
