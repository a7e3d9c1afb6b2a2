"""This machine now: GPU, processor, memory, disk, energy; unknown is said, never guessed."""
