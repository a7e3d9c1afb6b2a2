"""Chat templates and tokenizers at work without torch, and what came of it."""
