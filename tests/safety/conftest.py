"""A stand-in for the Hub, as the tests of sharing have it, and a home whose processes end with the test."""

from tests.faults.conftest import home, nursery
from tests.sharing.conftest import cache, hub

__all__ = ["cache", "home", "hub", "nursery"]
