"""What the methods have in common that train virtual tokens before each row."""

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Self

from pydantic import Field, StrictInt

from workers.contract.base import BaseSpec
from workers.contract.lanes import Lane
from workers.contract.methods.method import MethodSpec

MAX_TOKENS: Final = 512


class VirtualTokens(MethodSpec):
    """Trained embeddings that stand before those of each row. Positions of the row begin behind them."""

    n_tokens: StrictInt = Field(20, ge=1, le=MAX_TOKENS, description="virtual tokens; a row may have that many less")

    tasks: ClassVar[frozenset[str]] = frozenset({"causal_lm"})
    lanes: ClassVar[frozenset[Lane]] = frozenset({Lane.SOLO})
    starts_as_base: ClassVar[bool] = False
    peft_type: ClassVar[str]

    @property
    def extra_tokens(self) -> int:
        """See `MethodSpec.extra_tokens`."""
        return self.n_tokens

    def resolve(self, linears: Sequence[str]) -> Self:
        """See `MethodSpec.resolve`: nothing was left open."""
        return self

    def stock_config(self, base: BaseSpec) -> dict[str, Any]:
        """See `MethodSpec.stock_config`: PEFT's `adapter_config.json`."""
        return {
            "peft_type": self.peft_type,
            "task_type": "CAUSAL_LM",
            "base_model_name_or_path": base.location,
            "revision": base.revision,
            "inference_mode": True,
            "num_virtual_tokens": self.n_tokens,
            "num_transformer_submodules": 1,
            "token_dim": base.shape.hidden_size,
            "num_layers": base.shape.num_layers,
        }

    def facts(self) -> dict[str, str]:
        """See `MethodSpec.facts`."""
        return {"n_tokens": str(self.n_tokens)}
