"""Full tuning: the base itself is trained, with no adapter beside it."""

from __future__ import annotations
