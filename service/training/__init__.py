"""Carries a run from the order to the checkpoint: jobs, the worker, the trainer, several processes and machines."""
