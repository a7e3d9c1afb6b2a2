"""Loads the base model and sets up what is trained."""
