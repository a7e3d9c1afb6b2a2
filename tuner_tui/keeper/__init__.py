"""The keeper: a small process that runs the queue, and starts and supervises workers."""
