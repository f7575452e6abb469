"""The suite for sections of the configuration."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from banger_core.testing.contracts.base import Contract


class SettingsContract(Contract):
    """Set ``make`` to the model; ``valid`` is a section that a user could write."""

    contract: ClassVar[str] = "Context"
    make: Callable[..., Any]
    valid: ClassVar[Mapping[str, Any]] = {}

    def test_it_is_a_model(self) -> None:
        from pydantic import BaseModel

        made = type(self).make
        model = isinstance(made, type) and issubclass(made, BaseModel)
        self.asks(model, f"settings are a pydantic model, not {made!r}")

    def test_every_setting_has_a_default(self) -> None:
        from pydantic import ValidationError

        try:
            type(self).make()
        except ValidationError as problem:
            self.asks(False, f"a configuration without this section is valid: {problem}")

    def test_mistyped_names_are_refused(self) -> None:
        from pydantic import ValidationError

        try:
            type(self).make.model_validate({"no_such_setting_": 1})  # type: ignore[attr-defined]
        except ValidationError as problem:
            kinds = {error["type"] for error in problem.errors()}
        else:
            kinds = set()
        refused = "extra_forbidden" in kinds
        self.asks(refused, 'names that nobody knows are refused: ConfigDict(extra="forbid")')

    def test_values_can_be_shown(self) -> None:
        section = type(self).make(**self.valid)
        try:
            json.dumps(section.model_dump(mode="json"))
        except (TypeError, ValueError) as problem:  # pydantic's own errors are ValueErrors
            self.asks(False, f"`banger config show` can show every value: {problem}")

    def test_a_valid_section_stays_as_it_is(self) -> None:
        from pydantic import ValidationError

        section = type(self).make(**self.valid)
        try:
            setattr(section, next(iter(type(section).model_fields), "any"), None)
        except (ValidationError, TypeError, AttributeError):
            return
        self.asks(False, "a section does not change (ConfigDict(frozen=True)): it is shared")
