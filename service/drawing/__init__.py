"""Pictures of what was seen inside a model, as SVG that stands for itself: light and dark, nothing loaded from elsewhere."""

from __future__ import annotations
