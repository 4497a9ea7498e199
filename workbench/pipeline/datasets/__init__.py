"""A Dataset as a whole: its loop and counts; archive, clone and delete it."""

DEMO = "Demo"
"""The name of the dataset of `make demo`."""
