"""Lanes: how a host trains its seats. Each lane brings a `Stepper` and nothing else; `workers.host.LANES` lists them.

May import: `workers.*` except `workers.host`. A lane does not import another.
"""
