"""Tests; `tests.builders` is the only part other tests import."""
