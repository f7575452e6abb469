"""Names of kernels in the catalogue."""

from __future__ import annotations

import re

from banger_core.errors import UsageProblem

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


def check_kernel_name(name: str) -> str:
    """Return ``name`` when a kernel may be called that. Raises UsageProblem.

    It is the name of a directory: letters, digits, ``.``, ``-`` and ``_``, no dot or dash first.
    """
    if not _NAME.fullmatch(name):
        near = re.sub(r"[^A-Za-z0-9._-]+", "-", name[:128]).strip(".-")
        raise UsageProblem(
            f"{name[:100]!r} is not a kernel's name",
            cause="at most 128 letters, digits, '.', '-' and '_', with no '.' or '-' first",
            hints=[f"call it {near or 'mine'}"],
        )
    return name
