"""Comparison -> Claim -> Judgment."""
