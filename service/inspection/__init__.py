"""Looks inside a network, and returns the results as data and as SVG."""
