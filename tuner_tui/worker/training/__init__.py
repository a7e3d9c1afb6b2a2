"""The parts of training that all methods share: steps, checkpoints, events and the ending."""
