"""New run: from a recipe through five steps to a running run."""
