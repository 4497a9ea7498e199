LARGEST = 2**63 - 1
"""What a database takes for a primary key; a larger number would be an error of the query."""
