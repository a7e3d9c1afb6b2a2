"""Reads untrusted files (chat templates, tokenizers, packed tables) in a child process with limited time and memory."""
