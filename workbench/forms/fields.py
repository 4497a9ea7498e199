LARGEST = 2**63 - 1
"""The largest primary key of a database; a query with a larger number fails."""
