"""Device, memory and power measurements of the worker process."""
