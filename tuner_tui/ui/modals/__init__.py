"""Small questions over a screen; each returns its answer."""
