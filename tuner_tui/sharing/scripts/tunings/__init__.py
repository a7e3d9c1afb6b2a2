"""For each adapter: the code that creates `adapter`."""
