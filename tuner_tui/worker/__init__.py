"""The only folder with torch: one process, one job."""
