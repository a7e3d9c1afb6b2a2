"""A run as it lies on disk: folder, lock, events, their fold, and requests to the worker."""
