"""A validation file scored in slices, so that other seats train in between."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from workers.data.encode import EncodedRow
from workers.engine.guards import require_finite


@dataclass(frozen=True)
class Scored:
    """Sums over the supervised tokens of one forward pass."""

    nll: float
    """Each token's nll times its weight."""
    correct: float
    """The weights of the tokens that were predicted."""
    total_weight: float
    """The weights of all."""
    supervised: int
    """How many there are."""


@dataclass(frozen=True)
class Score:
    """Loss and token accuracy over a whole validation file, each a mean by the tokens' weights."""

    loss: float
    accuracy: float


class Evaluation:
    """The sums so far and the remaining passes. The weights must not change before it is `done`."""

    def __init__(self, rows: Sequence[EncodedRow], passes: Iterator[Scored]) -> None:
        self._passes = passes
        self._to_score = sum(row.supervised for row in rows)
        self._nll = 0.0
        self._correct = 0.0
        self._total_weight = 0.0
        self._supervised = 0

    @property
    def done(self) -> bool:
        """Whether every supervised token was scored."""
        return self._supervised == self._to_score

    def advance(self) -> None:
        """One forward pass. Raises OutOfMemory."""
        scored = next(self._passes)
        self._nll += scored.nll
        self._correct += scored.correct
        self._total_weight += scored.total_weight
        self._supervised += scored.supervised

    def score(self, step: int) -> Score:
        """The result after `step` steps, once `done`. Raises NonFiniteLoss."""
        loss = self._nll / self._total_weight
        require_finite(loss, f"the validation loss after step {step}", ())
        return Score(loss, self._correct / self._total_weight)
