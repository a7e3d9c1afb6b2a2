"""Of each adapter: the lines that make `adapter`."""
