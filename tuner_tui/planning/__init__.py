"""Resolves a spec on this machine: estimates, plans, and the reason for each choice."""
