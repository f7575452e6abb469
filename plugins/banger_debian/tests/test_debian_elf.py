from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from banger_core.api import IntegrityError
from banger_debian.elf import Needs, read_needs


def test_needs_of_a_program(elf):
    program = elf(["libc.so.6", "libz.so.1"], "ld-linux-x86-64.so.2")
    assert read_needs(program) == Needs("ld-linux-x86-64.so.2", ("libc.so.6", "libz.so.1"))
    assert read_needs(elf()) == Needs("", ())


def test_needs_are_those_that_readelf_sees():
    program = Path("/bin/sh").resolve()
    seen = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    needs = read_needs(program.read_bytes())
    assert needs.libraries
    assert all(name in seen for name in (*needs.libraries, needs.loader))


@pytest.mark.parametrize("size", [6, 40, 63, 64, 120, 200, 260])
def test_cut_off_programs_are_refused(size, elf):
    program = elf(["libc.so.6", "libz.so.1"], "ld-linux-x86-64.so.2")
    assert len(program) > size
    with pytest.raises(IntegrityError):
        read_needs(program[:size])


@pytest.mark.parametrize("program", [b"", b"#!/bin/sh", b"\x7fELF\x01\x01" + bytes(99)])
def test_what_is_no_program_is_refused(program):
    with pytest.raises(IntegrityError, match="no 64-bit ELF"):
        read_needs(program)
