"""Reading data sets, recognising their shape, and turning rows into what a method learns from."""
