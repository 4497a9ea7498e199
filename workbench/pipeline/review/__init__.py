"""Disagreements -> a reviewer's Decisions."""
