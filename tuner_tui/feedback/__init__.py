"""Annotations by a person, or a judge model: saved, counted, exported, trained on."""
