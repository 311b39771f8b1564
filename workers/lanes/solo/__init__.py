"""The solo lane: one job owns the host and trains through the stock library of its method. The reference in audits.

May import: `workers.*` except `workers.host` and the other lanes.
"""

from workers.lanes.solo.stepper import SequentialStepper

__all__ = ["SequentialStepper"]
