"""Who decided what about SSH to a VM, and who lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from banger_core.engine.ssh import FIXED
from banger_core.model import SshSetting, SshTarget, VmPlan
from banger_core.plan.ssh_keys import KEYS, SshKey

CERTAIN = "banger's own, for every VM: no policy can change it"


def explanation(plan: VmPlan, target: SshTarget) -> dict[str, Any]:
    """Return every setting and every option of OpenSSH as plain values.

    ``plan.ssh`` is the effective policy, ``target`` what was made of it. ``settings`` has one row
    for each key of policy: its value, who set it, who locked it, who lost and why, and the option
    that it becomes. ``options`` has one row for each option that ssh is given for a login.
    """
    project = plan.project.path if plan.project else ""
    return {
        "vm": plan.name,
        "settings": [_setting(KEYS[name], plan.ssh[name], project) for name in KEYS],
        "options": list(_options(target)),
    }


def _setting(key: SshKey, setting: SshSetting, project: str) -> dict[str, Any]:
    return {
        "setting": key.name,
        "value": setting.value,
        "origin": setting.origin,
        "locked_by": setting.locked_by,
        "lost": [
            {"origin": origin, "value": value, "why": _why(origin, setting, project)}
            for origin, value in setting.ignored
        ],
        "option": key.option,
        "summary": key.summary,
    }


def _why(origin: str, setting: SshSetting, project: str) -> str:
    if setting.locked_by and origin not in setting.locked_by.split(", "):
        return f"locked by {setting.locked_by}"
    if origin == project:
        return "a project can only tighten, and this would not"
    return f"{setting.origin} goes before it"


def _options(target: SshTarget) -> Iterator[dict[str, str]]:
    values = _values(target.shell or target.argv)
    for name, origin in target.origins.items():
        yield {
            "option": name,
            "value": values.get(name, target.user if name == "User" else ""),
            "origin": CERTAIN if origin == FIXED else origin,
        }


def _values(argv: tuple[str, ...]) -> Mapping[str, str]:
    pairs = (word.partition("=") for word in argv if "=" in word)
    return {name: value for name, _, value in pairs}
