"""The other end of `bench.processes.child`: measures in this process, and prints the result as one line of JSON."""

from __future__ import annotations

import importlib
import json
import sys

if __name__ == "__main__":
    module, options = sys.argv[1:]
    print(json.dumps(importlib.import_module(f"bench.{module}").measure(**json.loads(options))))
