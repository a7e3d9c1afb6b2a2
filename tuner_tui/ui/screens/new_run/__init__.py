"""New run: from a preset through five steps to a started run."""
