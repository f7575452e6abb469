"""The networks that every banger has keep the contract."""

from __future__ import annotations

from banger_core.networks.user import NoNetwork, UserNetwork
from banger_core.testing.contracts import NetworkContract


class TestUserNetwork(NetworkContract):
    make = UserNetwork


class TestNoNetwork(NetworkContract):
    make = NoNetwork
