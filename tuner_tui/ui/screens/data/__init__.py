"""Data: inspecting one data set."""
