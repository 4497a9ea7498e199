"""The API under /api/v1/: the second face of the functions that the pages call. An operation parses, asks
access.py, calls the pipeline and answers; no rule lives here."""
