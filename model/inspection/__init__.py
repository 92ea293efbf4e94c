"""Looking inside a network while it reads a text."""

from __future__ import annotations
