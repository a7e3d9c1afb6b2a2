"""Rows in plain form: their types, turns, content and order."""
