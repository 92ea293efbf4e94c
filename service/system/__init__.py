"""Handles processes, hardware, the disk, threads, formatting and the log, for all other rooms."""
