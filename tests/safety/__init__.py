"""Attacks on the person's files and on what may run; most with real processes."""
