"""The reward model as a library: no Django, no database.

    from scoring.engine import load
    engine = load("path/to/checkpoint")
    engine([("What is a lease?", "A claim that expires.")])

`python -m scoring --help` does the same for JSONL files.
"""
