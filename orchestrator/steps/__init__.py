"""The vocabulary of the loops: what a step is, what it counts, and how one collects garbage.

May import: `orchestrator.errors`, `orchestrator.outages`. Everything that runs in a loop is a `Step` from here.
"""
