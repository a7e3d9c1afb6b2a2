"""The device, its memory and its power, as the worker sees them."""
