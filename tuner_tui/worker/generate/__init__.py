"""The generation worker: serves one base with any number of adapters over a socket, with typed requests."""
