"""Fine-tune language models on one home GPU, from a terminal."""

__version__ = "0.1.0"
