"""The routes, one module per group of endpoints; a view parses, calls, answers."""
