"""The solo lane: each seat trains by itself, through the stock library of its method. Also what others are audited by.

May import: `workers.*` but `workers.host` and the other lanes.
"""

from workers.lanes.solo.stepper import SequentialStepper

__all__ = ["SequentialStepper"]
