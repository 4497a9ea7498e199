"""The reward model as a library: no Django, no database.

    from scoring.engine import load
    engine = load("path/to/checkpoint")
    engine([("What is a lease?", "A claim that expires.")])

`python -m scoring --help` does the same for JSONL files.
"""

import os

# Before torch is loaded. By default an OpenMP thread that waits for another keeps its processor busy: where
# web and workers share two, a step of training then took many times as long and was mostly waiting.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
