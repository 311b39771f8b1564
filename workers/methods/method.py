"""What a lane asks of a method, and the registry of methods."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from torch import Tensor, nn

from workers.contract.methods import MethodSpec
from workers.contract.spec import JobSpec
from workers.methods.linears import adaptable_linears, decoder_to_name
from workers.rng import DropoutKey


@dataclass
class Site:
    """A base that methods attach to: its model, and its linears by path as they were before any was wrapped."""

    model: nn.Module
    linears: Mapping[str, nn.Module]
    decoder: str | None = None
    """Path of the decoder where names of linears alone would also match others; see `BaseShape.decoder`."""
    wrapper: Any = field(default=None, repr=False)
    """What a stock library wrapped the model in, once one did; shared by all attachments."""
    acting: "Attachment | None" = field(default=None, repr=False)
    """Of those that hook the decoder, the one whose turn it is."""

    @classmethod
    def of(cls, model: nn.Module) -> "Site":
        """The site of a model that nothing is attached to yet."""
        return cls(model, adaptable_linears(model), decoder_to_name(model))


class Attachment(Protocol):
    """The trainable part of one seat in the base, as the stock library makes it."""

    @property
    def weights(self) -> Mapping[str, nn.Parameter]:
        """Every trained weight by the name the stock library stores it under."""

    def activate(self) -> None:
        """Let this one, and no other, act in the next forward passes."""

    def set_dropout(self, key: DropoutKey | None) -> None:
        """Choose the masks of the next micro-batch; None: no dropout."""

    def detach(self) -> None:
        """Take it out of the base."""


@dataclass(frozen=True)
class WeightRule:
    """How the optimizer treats a weight."""

    rate: float = 1.0
    """Its learning rate is this times the job's."""
    decays: bool = True
    """Whether weight decay pulls it to zero."""


@dataclass(frozen=True)
class LowRankForm:
    """What the fused lane needs to know of a low-rank adapter: y += scale * B A dropout(x) on each target."""

    rank: int
    scale: float
    dropout: float
    targets: tuple[str, ...]
    """Paths of the adapted linears, in the base's order."""


class TrainableMethod(Protocol):
    """One method. Its functions keep no state: whatever belongs to a seat is in its attachment."""

    def shapes(self, spec: Any, site: Site) -> dict[str, tuple[int, ...]]:
        """The weights a seat will have, by the names of `Attachment.weights`. Raises InvalidTargetModules."""

    def attach(self, spec: Any, site: Site, name: str, seed: int) -> Attachment:
        """A fresh attachment beside those there are; `name` is like no other's. Raises InvalidTargetModules.

        What is drawn at random and not trained follows from the job's seed, or from the spec.
        """

    def initialize(self, spec: Any, weights: Mapping[str, Tensor], seed: int) -> None:
        """Write the first weights, from the job's seed alone: order and slot do not matter."""

    def rule(self, spec: Any, name: str) -> WeightRule:
        """How the optimizer treats the weight of that name."""

    def fused_form(self, spec: Any, linears: Mapping[str, nn.Module]) -> LowRankForm | None:
        """What the fused lane trains; None where the method has no fused form. Raises InvalidTargetModules."""

    def export(self, job: JobSpec, weights: Mapping[str, Tensor], folder: Path) -> None:
        """Write what the stock library of the method loads."""

    def load(self, model: nn.Module, folder: Path) -> nn.Module:
        """Load what `export` wrote onto a plain base, through the stock library; returns the model to call."""


class MethodRegistry:
    """Methods by the `type` of their spec."""

    def __init__(self) -> None:
        self._members: dict[str, TrainableMethod] = {}

    def register(self, spec: type[MethodSpec]) -> Callable[[type[TrainableMethod]], type[TrainableMethod]]:
        """A decorator: the class trains what `spec` describes."""

        def add(method: type[TrainableMethod]) -> type[TrainableMethod]:
            self._members[spec.model_fields["type"].default] = method()
            return method

        return add

    def of(self, spec: MethodSpec) -> TrainableMethod:
        """The method that trains `spec`."""
        return self._members[spec.type]

    def names(self) -> set[str]:
        """Every `type` there is."""
        return set(self._members)


METHODS: Final = MethodRegistry()
