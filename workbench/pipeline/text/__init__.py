"""Prompt texts: near-duplicates, splits, leakage, and what a model has learnt."""
