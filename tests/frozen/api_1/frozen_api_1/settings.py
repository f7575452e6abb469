"""The section ``[plugins.frozen]``."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class FrozenSettings(BaseModel):
    """One setting."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    greeting: str = "hello"
