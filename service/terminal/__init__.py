"""Formats what the command line prints: safe text, tables, plots and the display of a training run. Prints nothing itself."""
