"""What every method's training has in common: steps, checkpoints, events and the ending."""
