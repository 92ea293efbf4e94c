"""Defines the commands, and formats what they print: safe text, tables, plots and the display of a training run."""
