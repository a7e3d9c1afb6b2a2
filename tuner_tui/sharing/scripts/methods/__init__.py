"""For each method: its configuration arguments, and the code that creates `dataset`."""
