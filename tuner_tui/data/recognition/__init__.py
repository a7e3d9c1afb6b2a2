"""From a file's columns to rows in plain form: recognised or mapped, and fixed."""
