"""pydantic's findings about a configuration, in words for the person who wrote the file."""

from __future__ import annotations

import json
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from banger_core.errors import UsageProblem

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel, ValidationError


def describe(
    problem: ValidationError, model: type[BaseModel], file: Path, prefix: str
) -> UsageProblem:
    """Return the first finding as an error that names file, key and value; the others are
    counted in its cause.
    """
    findings = problem.errors(include_url=False)
    finding = findings[0]
    path = [str(part) for part in finding["loc"] if part != "function-before"]
    key = ".".join([prefix, *path] if prefix else path)
    more = f" ({len(findings) - 1} more like this)" if len(findings) > 1 else ""
    if finding["type"] == "extra_forbidden":
        known = _known(model, path[:-1])
        near = get_close_matches(path[-1], known, n=1, cutoff=0.5)
        return UsageProblem(
            f"{file}: there is no setting {key}",
            cause=f"there is: {', '.join(known)}{more}",
            hints=[f"did you mean {near[0]}?"] if near else [f"edit {file}"],
        )
    section = finding["type"] in ("model_type", "dict_type")
    said = "it is a section" if section else finding["msg"].removeprefix("Value error, ")
    return UsageProblem(
        f"{file}: {key} = {_shown(finding['input'])} is not possible",
        cause=f"{said[:1].lower()}{said[1:]}{more}",
        hints=[f"write it as [{key}]" if section else "without that line the default is used"],
    )


def _known(model: Any, path: list[str]) -> list[str]:
    for part in path:
        field = getattr(model, "model_fields", {}).get(part)
        model = field.annotation if field else None
    return list(getattr(model, "model_fields", {}))


def _shown(value: object) -> str:
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}…"
