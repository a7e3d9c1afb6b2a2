"""Where a training step's time goes, and which change would help most; without torch."""
