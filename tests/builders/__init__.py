"""Builders with defaults: tiny real things that tests of every room share."""
