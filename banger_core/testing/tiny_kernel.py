"""A guest of a hundred bytes, for tests that want to see a guest run but need no Linux.

It says ``GREETING`` on the first serial port again and again, sends back what it reads there, and
ends the machine by a triple fault when it reads the letter ``o`` (as in the system request that
powers off) or when a key of the keyboard is pressed (as by Ctrl+Alt+Del). For amd64: an ELF-64
kernel that can be entered by the PVH protocol, in 32-bit mode, and at its entry point, in 64-bit
mode; every instruction in it means the same in both.
"""

from __future__ import annotations

import struct

GREETING = b"tiny guest runs\r\n@@ banger ready\r\n"

_LOAD = 0x1000000
_CODE = 64 + 2 * 56
_XEN_PHYS32_ENTRY = 18  # XEN_ELFNOTE_PHYS32_ENTRY, xen/include/public/elfnote.h

_START = bytes.fromhex("bb00000100")  # mov ebx: how often to look before the next greeting
_PRINT = bytes.fromhex("66baf803 ac 84c0 7403 ee ebf8")  # dx = COM1; lodsb; until 0: out
_COUNT = bytes.fromhex("ffcb 74e6")  # dec ebx; at 0: back to _START
_SERIAL = bytes.fromhex("66bafd03 ec a801 740a 66baf803 ec 3c6f 740d ee")  # in; 'o': end; else out
_KEYBOARD = bytes.fromhex("e464 3cff 74e3 a801 74df e460")  # none, or no key: back to _COUNT
_END = bytes.fromhex("0f011e cc")  # lidt [esi]; int3


def tiny_kernel() -> bytes:
    """Return the kernel's file."""
    code = _PRINT + _COUNT + _SERIAL + _KEYBOARD
    after = _CODE + len(_START) + 5 + len(code) + 5 + len(_END)
    text, table = after, after + len(GREETING) + 1
    note = table + 16
    code = _START + _point_at(text) + code + _point_at(table) + _END
    body = code + GREETING + bytes(1 + 16)
    entry = _LOAD + _CODE
    notes = struct.pack("<III4sQ", 4, 8, _XEN_PHYS32_ENTRY, b"Xen\0", entry)
    size = note + len(notes)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header += struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, entry, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    load = struct.pack("<IIQQQQQQ", 1, 7, 0, _LOAD, _LOAD, size, size, 4096)
    mark = struct.pack("<IIQQQQQQ", 4, 4, note, 0, 0, len(notes), len(notes), 4)
    return header + load + mark + body + notes


def _point_at(offset: int) -> bytes:
    return b"\xbe" + struct.pack("<I", _LOAD + offset)  # mov esi, address
