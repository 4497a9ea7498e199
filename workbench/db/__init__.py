"""Snapshots, compiled statements and stored files."""
