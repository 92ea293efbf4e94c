"""Looking inside a network: its results as data and as SVG."""
