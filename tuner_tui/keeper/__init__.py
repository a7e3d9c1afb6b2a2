"""The small process that starts workers, waits for them and runs the queue."""
