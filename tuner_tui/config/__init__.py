"""What a run is, as the person said it: the spec, presets, settings and folders."""
