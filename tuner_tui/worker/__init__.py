"""The worker process: the only package that imports torch; one process runs one job."""
