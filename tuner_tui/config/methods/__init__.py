"""The training methods, one file each, and their traits."""
