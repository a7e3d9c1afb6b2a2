"""Exports, model card, upload checks, pushing to the Hub and downloading from it."""
