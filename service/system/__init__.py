"""Processes, hardware, the disk, threads, formatting and the log: what every other room stands on."""
