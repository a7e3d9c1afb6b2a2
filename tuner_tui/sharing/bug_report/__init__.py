"""A report to attach to a bug: what may leave by allow-lists, and a second net over the whole of it."""
