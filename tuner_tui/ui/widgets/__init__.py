"""One widget a concern; each draws itself from the values it is given."""
