"""Looks inside a network while it reads a text: surprise, activations, gates, embeddings, and units that follow a feature."""

from __future__ import annotations
