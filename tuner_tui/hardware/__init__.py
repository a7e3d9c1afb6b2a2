"""This machine now: GPU, CPU, memory, disk, energy; unknown values are reported as unknown."""
