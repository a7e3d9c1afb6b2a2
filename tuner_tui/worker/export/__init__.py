"""Turning a run's result into the forms people use, and reading each back to see that it behaves the same."""
