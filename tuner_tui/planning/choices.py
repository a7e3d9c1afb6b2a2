"""The names of choices that are looked for by name, not only shown."""

from __future__ import annotations

ADAPTED_PART, ADAPTED_LAYERS = "adapted part", "adapted layers"
"""The names of the choices that say which part of a model has adapters, where text does not reach all of it, and which
linear layers, where not all of them can be adapted."""
CONCURRENT = "micro-batches at a time"
"""The name of the choice of how many micro-batches are computed at the same time."""
MODEL_CLASS, ROUTER_LOSS = "model class", "router loss"
"""The names of two choices: transformers' auto class, where it is not the usual one, and a mixture's added loss."""
