"""`BaseFacts`: what a base says of itself."""

from dataclasses import dataclass

from workers.contract.base import LEFT_OUT, BaseShape, Quantization


@dataclass(frozen=True)
class BaseFacts:
    """Read from a base's files: what a catalogue entry need not repeat."""

    shape: BaseShape
    target_modules: tuple[str, ...]
    """Its linears, the usual ones first."""
    has_chat_template: bool
    """Without one, rows with `messages` are refused unless the catalogue gives a template."""
    license: str | None
    python_tokenizer: str | None = None
    """The class of a tokenizer in Python ("slow"), over which rows with `messages` are refused."""
    experts: int = 0
    """Weights that hosts hold as stacked tensors, which are not quantized."""
    revision: str | None = None
    """The commit, of a base on the hub."""

    @property
    def quantizations(self) -> tuple[Quantization, ...]:
        """How a host can hold it, the usual one first."""
        return (Quantization.NONE,) if self.experts > LEFT_OUT * self.shape.parameters else tuple(Quantization)
