"""Of each method: the arguments of its configuration, and the lines that make `dataset`."""
