"""Data: one data set looked at closely."""
