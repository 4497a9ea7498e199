"""The people of a dataset."""
