"""The rooms of the service; imports go one way: terminal, web, inspection, training, {generation, novelty}, store, system."""
