"""The base model in memory, and what of it is trained."""
