"""Settings of other tools read as a run spec, with an account of every key."""
