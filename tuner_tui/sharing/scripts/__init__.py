"""What a train.py says of a run's own method and tuning: a file for each kind that a script can repeat."""
