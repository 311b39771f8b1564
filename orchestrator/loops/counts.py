"""`Counts`: what one pass of a step did, for tests and logs."""

from collections import Counter

Counts = Counter[str]
"""Verb -> how often. Empty: there was nothing to do."""
