"""Annotators' questions, reviewers' replies to them, and examples in the guidelines."""
