"""One widget per concern; each draws itself from the values it is given."""
