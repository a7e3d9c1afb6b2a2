"""Exports a run's result in the usual formats, and verifies each export by loading it and comparing its outputs."""
