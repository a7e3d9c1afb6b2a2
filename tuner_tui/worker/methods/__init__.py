"""One file per training method, readable from data to saved adapter."""
