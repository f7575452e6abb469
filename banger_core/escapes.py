"""What a guest says, made safe to show: it may never reach a terminal with its control sequences in
place (ECMA-48).
"""

from __future__ import annotations

import codecs
import re

_CONTROL = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI … final byte
    # OSC, DCS, SOS, PM, APC … ST or BEL; an unterminated one ends with its line
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\r\n]*(?:\x07|\x1b\\|\x9c)?"
    r"|\x1b[ -/]*[0-~]"
    # The bidirectional controls go too: they can show text in an order that it does not have
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)

_UNFINISHED = re.compile(
    r"(?:\r+|(?:\x1b\[|\x9b)[0-?]*[ -/]*"
    r"|(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])[^\x07\x1b\x9c\r\n]*\x1b?|\x1b[ -/]*)\Z"
)
_LONGEST = 256


def strip_escapes(data: bytes | str) -> str:
    """Return ``data`` as text that is safe to show: no terminal sequences, no controls.

    Tabs and line feeds stay; every carriage return becomes a line feed (CR LF one of them), so
    that nothing can be written over. Bytes that are no UTF-8 become U+FFFD.
    """
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    return _CONTROL.sub("", re.sub(r"\r+\n|\r", "\n", text))


class EscapeStripper:
    """``strip_escapes`` for output that comes in pieces, cut anywhere."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._held = ""

    def feed(self, data: bytes) -> str:
        """Return what can be shown now; a sequence or character that may go on is held back."""
        text = self._held + self._decoder.decode(data)
        unfinished = _UNFINISHED.search(text, max(0, len(text) - _LONGEST))
        cut = unfinished.start() if unfinished else len(text)
        self._held = text[cut:]
        return strip_escapes(text[:cut])

    def finish(self) -> str:
        """Return what was held back: no more is coming."""
        text = self._held + self._decoder.decode(b"", final=True)
        self._held = ""
        return strip_escapes(text)
