"""Lanes: how a host trains its seats. Each brings a `Stepper` and nothing else.

May import: `workers.*` but `workers.host`.
"""
