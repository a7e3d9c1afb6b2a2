"""The training methods: what is optimised. Each has a file of its own here and a record of its traits."""
