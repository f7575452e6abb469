"""A daemon dies or fails while it saves a machine in the background: nothing of that is left, and
whoever comes next makes it.
"""

from __future__ import annotations

import signal

import pytest

POINTS = ("warm.after_intent", "warm.after_save", "warm.after_publish")
RUN = ("vm", "run", "-d", "--name")


@pytest.fixture
def house(house):
    config = house.home / "config" / "config.toml"
    config.write_text(config.read_text().replace('driver = "fake"', 'driver = "fake-warm"'))
    return house


def shelf(house):
    return list((house.home / "cache" / "warm-starts").glob("*"))


def saved(house):
    return [place for place in shelf(house) if not place.name.startswith(".")]


def assert_settled(house):
    assert house.leftovers() == []
    assert saved(house) == shelf(house)


def is_warm(house, name):
    return next(vm["warm"] for vm in house.vms() if vm["name"] == name)


@pytest.mark.parametrize("point", POINTS)
def test_killed(house, point):
    daemon = house.daemon(f"{point}:kill")
    house.run(*RUN, "one")
    assert daemon.wait(timeout=60) == -signal.SIGKILL
    house.vms()
    house.until(lambda: saved(house) == shelf(house))
    assert_settled(house)
    # It can be found from the moment on at which it is whole
    assert bool(saved(house)) == (point == POINTS[-1])
    house.ok(*RUN, "two")
    assert is_warm(house, "two") == (point == POINTS[-1])
    house.until(lambda: saved(house))
    house.ok(*RUN, "three")
    assert is_warm(house, "three")


@pytest.mark.parametrize("point", POINTS)
def test_failed(house, point):
    daemon = house.daemon(f"{point}:error")
    house.ok(*RUN, "one")
    house.until(lambda: f"failpoint {point} was reached" in house.log())
    house.until(lambda: saved(house) == shelf(house) and house.leftovers() == [])
    assert bool(saved(house)) == (point == POINTS[-1])
    daemon.terminate()
    assert daemon.wait(timeout=60) == 0
    assert "Traceback" not in house.log()
    house.ok(*RUN, "two")
    assert is_warm(house, "two") == bool(point == POINTS[-1])


def test_a_daemon_that_stops_leaves_nothing_half_saved(house):
    daemon = house.daemon("warm.after_save:hang")
    house.ok(*RUN, "one")
    house.until(lambda: list((house.home / "cache" / "warm-starts").glob(".making-*/memory")))
    daemon.terminate()
    assert daemon.wait(timeout=60) == 0
    assert shelf(house) == []
    assert_settled(house)
