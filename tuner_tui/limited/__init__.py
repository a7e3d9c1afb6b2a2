"""Reading what strangers wrote (chat templates, tokenizers, packed tables) in a child with bounded time and memory."""
