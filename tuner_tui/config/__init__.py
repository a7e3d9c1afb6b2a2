"""The run spec, presets, settings and folders."""
