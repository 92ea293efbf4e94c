"""Reads documents: what a Word file, a web page, a PDF or a chat says becomes plain text, without markup, styles and pictures."""

from __future__ import annotations
