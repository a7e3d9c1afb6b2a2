"""Full tuning: all weights of the base are trained, without an adapter."""

from __future__ import annotations
