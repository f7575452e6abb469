"""``banger doctor``: what this host has, lacks, and could mend."""

from __future__ import annotations

from typing import Annotated

import typer

from banger_core.cli.findings import show_findings
from banger_core.cli.link import link
from banger_core.cli.options import AsJson
from banger_core.client.client import url
from banger_core.errors import ExitCode


def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Mend what is safe to mend.")] = False,
    as_json: AsJson = False,
) -> int:
    """Check this host.

    The exit status is 4 when something fails that machines cannot do without.
    """
    client = link()
    answer = client.call("POST", url("doctor", "fix")) if fix else client.get(url("doctor"))
    return show_findings(answer["findings"], as_json=as_json, failed=ExitCode.HOST)
