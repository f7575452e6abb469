"""How long a guest may take to answer: longer when others start beside it."""

from __future__ import annotations

import pytest

from banger_core.engine.startup import READY_DEADLINE, ready_deadline


@pytest.mark.parametrize(
    ("starting", "processors", "more"), [(0, 2, 0), (1, 2, 0), (3, 2, 10), (32, 2, 155), (9, 8, 10)]
)
def test_others_that_start_take_their_share(starting, processors, more):
    assert ready_deadline(starting, processors) == READY_DEADLINE + more
