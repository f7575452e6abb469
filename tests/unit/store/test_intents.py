from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from banger_core.store.database import Database
from banger_core.store.intents import Intents


@pytest.fixture
def intents(database):
    return Intents(database)


def test_from_beginning_to_undoing(intents):
    first = intents.begin("vm1", "directory", "/x", {"path": Path("/x")})
    second = intents.begin("vm1", "process", "/x/run")
    other = intents.begin("vm2", "network", "user")
    intents.done(first)
    assert [intent.id for intent in intents.of("vm1")] == [second, first]
    assert [intent.id for intent in intents.open()] == [other, second]
    assert [intent.id for intent in intents.all()] == [other, second, first]
    done = intents.of("vm1")[1]
    assert done.is_done
    assert done.data == {"path": "/x"}
    assert (done.kind, done.subject) == ("directory", "/x")
    intents.remove(second)
    intents.remove(second)
    assert [intent.id for intent in intents.of("vm1")] == [first]


def test_ids_are_never_used_again(intents):
    first = intents.begin("vm", "disk", "a")
    intents.remove(first)
    assert intents.begin("vm", "disk", "b") > first


def test_data_that_cannot_be_kept_leaves_no_intent(intents):
    with pytest.raises(TypeError):
        intents.begin("vm", "disk", "a", {"x": object()})
    assert intents.all() == []


def test_an_intent_outlives_a_kill_right_after_begin(tmp_path):
    code = (
        "import os, sys; from pathlib import Path\n"
        "from banger_core.store.database import Database\n"
        "from banger_core.store.intents import Intents\n"
        "Intents(Database.open(Path(sys.argv[1]))).begin('vm', 'process', '/run/vm', {'a': 1})\n"
        "os.kill(os.getpid(), 9)"
    )
    path = tmp_path / "banger.db"
    child = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert child.returncode == -signal.SIGKILL
    with Database.open(path) as database:
        (intent,) = Intents(database).open()
    assert (intent.kind, intent.subject, intent.data) == ("process", "/run/vm", {"a": 1})
