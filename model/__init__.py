"""Implements the mathematics of Charloom in numpy and in C: networks, training, sampling. No files, network, clock, database or globals."""
