"""``BANGER_TRACE=hooks``: which hook of which plugin gave what, and how long it took."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from banger_core.errors import UsageProblem

VARIABLE = "BANGER_TRACE"
_HOOKS = "hooks"
_told = False


def traces_hooks() -> bool:
    """Say whether hooks are traced. Raises UsageProblem for a word that traces nothing."""
    words = {word.strip() for word in os.environ.get(VARIABLE, "").split(",")} - {""}
    if unknown := words - {_HOOKS}:
        raise UsageProblem(
            f"{VARIABLE}={min(unknown)} traces nothing",
            cause=f"what can be traced is: {_HOOKS}",
            hints=[f"{VARIABLE}={_HOOKS}"],
        )
    return _HOOKS in words


def wants_fresh() -> bool:
    """Say whether hooks are to be called for the sake of the trace: once in each process."""
    global _told
    wants, _told = traces_hooks() and not _told, True
    return wants


@contextmanager
def traced(subject: str) -> Iterator[list[str]]:
    """Time what happens inside, and say on stderr what ``subject`` gave: what is put into the
    list, or the name of what was raised. Without ``BANGER_TRACE=hooks`` nothing is said.
    """
    gave: list[str] = []
    if not traces_hooks():
        yield gave
        return
    began = time.perf_counter()
    try:
        yield gave
    except BaseException as problem:
        gave[:] = [f"raised {type(problem).__name__}"]
        raise
    finally:
        took = (time.perf_counter() - began) * 1000
        sys.stderr.write(f"hooks: {subject}: {', '.join(gave) or 'nothing'} ({took:.2f} ms)\n")
