"""Keeping and serving: everything that touches the database, other processes or the network."""
