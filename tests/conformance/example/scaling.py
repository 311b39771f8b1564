"""The torch half of the example, through PEFT's own (IA)³."""

from tests.conformance.example.scaling_spec import Scaling
from workers.methods import METHODS, WeightRule
from workers.methods.peft import PeftMethod


@METHODS.register(Scaling)
class ScalingMethod(PeftMethod):
    """One vector for each adapted linear, which begins as ones and is not pulled to zero."""

    def rule(self, spec: Scaling, name: str) -> WeightRule:
        return WeightRule(decays=False)
