"""The parts of train.py for a method or tuning: one file per kind that a script can repeat."""
