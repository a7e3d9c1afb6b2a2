"""Asking a model for answers, from processes that have no torch."""
