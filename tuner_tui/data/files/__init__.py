"""Opening data files of any format, with limits, and their rows one after the other."""
