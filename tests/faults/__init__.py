"""Real runs whose processes are killed, stopped and confused."""
