"""Rows as tokens, as the trainer is fed them."""
