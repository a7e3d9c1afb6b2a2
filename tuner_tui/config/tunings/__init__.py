"""The tunings, one file each, and their traits."""
