"""Methods with torch: how each is attached to a loaded base, initialized from a seed, fused and exported.

May import: `workers.contract`, `workers.rng`, torch, the stock library of each method. Not the engine, nor any lane.

The registry has the keys of `workers.contract.methods` (a test holds them equal). To add one, see "How to add a method"
in ARCHITECTURE.md.
"""

from workers.methods import ia3 as _ia3  # noqa: F401  # registers itself
from workers.methods import lora as _lora  # noqa: F401
from workers.methods import p_tuning as _p_tuning  # noqa: F401
from workers.methods import prefix_tuning as _prefix_tuning  # noqa: F401
from workers.methods import prompt_tuning as _prompt_tuning  # noqa: F401
from workers.methods import tuners as _tuners  # noqa: F401
from workers.methods.method import METHODS, Attachment, LowRankForm, Site, TrainableMethod, WeightRule

__all__ = ["METHODS", "Attachment", "LowRankForm", "Site", "TrainableMethod", "WeightRule"]
