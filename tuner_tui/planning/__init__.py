"""The spec resolved on this machine: what will be done, and why."""
