"""What the command line shows: units in words, safe text, tables, plots and the display of a training run. Prints nothing itself."""
