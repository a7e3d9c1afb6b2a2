"""One file per training method, each readable from its data to its adapter."""
