"""Measures speed, memory and quality, always beside a peer in the same run. Never part of the tests.

``python -m bench`` prints tables and writes JSON. Each benchmark is a module with a function `measure` that returns what JSON can
hold; `bench.processes` runs it in a process of its own, `bench.report` turns the result into text. What of ours is measured is
in `bench.ours`, what it is measured against in `bench.peers`.
"""
