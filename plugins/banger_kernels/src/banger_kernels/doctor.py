"""The doctor's look at the kernels that are kept on this host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from banger_core.api import Finding
from banger_kernels.catalogue import Catalogue

if TYPE_CHECKING:
    from banger_core.api import Context

_SUBJECT = "kernels"


class KernelsCheck:
    """The doctor's check ``kernels``; it asks no feed and reads no kernel to its end."""

    async def check(self, cx: Context) -> list[Finding]:
        """Say which kernels cannot be used."""
        rows = await Catalogue().available(cx)
        broken = [row for row in rows if row.problem]
        fine = f"{len(rows) - len(broken)} kernels are kept here, and can be used"
        return [
            Finding(level="pass", subject=_SUBJECT, message=fine),
            *(
                Finding(
                    level="warn",
                    subject=_SUBJECT,
                    message=f"{row.name} cannot be used: {row.problem}",
                    why="machines with this kernel are not made",
                    fix=f"banger kernel rm {row.name}, then pull or import it again",
                )
                for row in broken
            ),
        ]

    async def fix(self, cx: Context) -> list[Finding]:
        """Mend nothing: what is broken may be the only copy."""
        del cx
        return []
