"""Completions -> Scores -> Suggestions."""
