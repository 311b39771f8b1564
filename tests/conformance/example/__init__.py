"""A method that only tests know, in the two files that any method is."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from workers import methods
from workers.contract import methods as specs

_FILES = ("scaling_spec", "scaling")


@contextmanager
def registered() -> Iterator[None]:
    """Import the two files, which register themselves, and take them out again: other tests see the product alone."""
    before = dict(specs.METHODS._members), dict(methods.METHODS._members)
    try:
        for name in _FILES:
            sys.modules.pop(f"{__name__}.{name}", None)
            importlib.import_module(f"{__name__}.{name}")
        yield
    finally:
        specs.METHODS._members, methods.METHODS._members = before
