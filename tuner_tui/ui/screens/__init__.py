"""One file a screen, its rules in a .tcss beside it."""
