"""Judgments -> derived Decisions."""
