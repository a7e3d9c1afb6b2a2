"""The tunings: what is trained. Each has a file of its own here and a record of its traits."""
