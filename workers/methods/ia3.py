"""(IA)³ (arXiv 2205.05638): PEFT's."""

from workers.contract.methods import Ia3
from workers.methods.method import METHODS, WeightRule
from workers.methods.peft import PeftMethod


@METHODS.register(Ia3)
class Ia3Method(PeftMethod):
    """Vectors that begin as ones: weight decay would pull them to zero, which silences the linear."""

    def rule(self, spec: Ia3, name: str) -> WeightRule:
        """See `TrainableMethod.rule`."""
        return WeightRule(decays=False)
