"""Requests to other machines: where they may go, and connections to the very addresses that were checked."""
