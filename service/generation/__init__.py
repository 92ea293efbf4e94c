"""Keeps models in memory, batches requests into steps, and scores texts."""
