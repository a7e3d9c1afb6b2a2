"""Tests and benchmarks; a package, so that tests can share code."""
