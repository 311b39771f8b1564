"""Builders: parts with sensible defaults, so that a test names only what it is about."""
