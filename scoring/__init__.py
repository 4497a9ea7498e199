"""The reward model as a library: no Django, no database.

    from scoring.engine import load
    engine = load("path/to/checkpoint")
    engine([("What is a lease?", "A claim that expires.")])

`python -m scoring --help` does the same for JSONL files.
"""

import os

# Set before torch is loaded. By default a waiting OpenMP thread keeps its processor busy. Where web and
# workers share two processors, a training step then takes many times as long.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
