"""``banger plugin check``: does a plugin keep its contracts, and is it light."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Annotated

import typer

from banger_core.cli.completers import one_of
from banger_core.cli.findings import show_findings
from banger_core.cli.options import AsJson
from banger_core.cli.plugin import PluginName
from banger_core.errors import BangerError, ExitCode, UsageProblem
from banger_core.ui.console import tell


def check(
    name: PluginName,
    examples: Annotated[
        list[str],
        typer.Option(
            "--with",
            metavar="NAME=VALUE",
            help="What a suite needs to know: ref and missing of an image source, name of a "
            "kernel. May be repeated.",
            autocompletion=one_of("ref=", "missing=", "name="),
        ),
    ] = [],  # noqa: B006  (typer copies it)
    host: Annotated[
        bool,
        typer.Option(
            "--host", help="Also run what changes this host for a moment: networks, services, fix."
        ),
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show what pytest says.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Test an installed plugin.

    It says what importing the plugin costs, and runs the suites of the contracts that the plugin
    has to keep. The exit status is 5 when something fails.
    """
    for example in examples:
        if "=" not in example:
            raise UsageProblem(
                f"--with {example!r} is no NAME=VALUE", hints=["--with ref=scheme://image"]
            )
    words = [sys.executable, "-P", "-m", "banger_core.testing.check", *(["--host"] if host else [])]
    words += [word for example in examples for word in ("--with", example)]
    done = subprocess.run([*words, "--", name], capture_output=True, text=True, check=False)
    if verbose:
        for line in done.stderr.splitlines():
            tell(line)
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        said = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
        raise BangerError(
            f"{name} could not be checked",
            cause=said[-1],
            hints=[f"banger plugin check --verbose {name}"],
        ) from None
    if done.returncode:
        raise BangerError.from_dict(answer)
    return show_findings(answer["findings"], as_json=as_json, failed=ExitCode.PLUGIN)
