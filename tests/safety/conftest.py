"""A stand-in for the Hub, as the tests of sharing have it."""

from tests.sharing.conftest import cache, hub

__all__ = ["cache", "hub"]
