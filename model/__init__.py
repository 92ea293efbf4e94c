"""Implements the mathematics of Charloom on numpy: networks, training, sampling. No files, network, clock, database or globals."""
