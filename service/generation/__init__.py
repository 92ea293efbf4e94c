"""Models in memory, requests batched into steps, and scores of texts."""
