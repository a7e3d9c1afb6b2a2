"""Runs on disk: folder, lock, events, the state computed from them, and requests to the worker."""
