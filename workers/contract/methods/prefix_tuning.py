"""Prefix tuning: trained keys and values before those of each row, in every layer (arXiv 2101.00190)."""

from typing import Any, ClassVar, Literal

from workers.contract.base import BaseShape, BaseSpec
from workers.contract.methods.method import METHODS
from workers.contract.methods.prompts import VirtualTokens


@METHODS.register
class PrefixTuning(VirtualTokens):
    """Keys and values of `n_tokens` positions in each layer, which every token of a row attends to."""

    type: Literal["prefix_tuning"] = "prefix_tuning"

    title: ClassVar[str] = "Prefix tuning"
    peft_type: ClassVar[str] = "PREFIX_TUNING"

    def trained(self, shape: BaseShape) -> int:
        """A key and a value a layer and position."""
        return self.n_tokens * 2 * shape.num_layers * shape.key_value_size

    def stock_config(self, base: BaseSpec) -> dict[str, Any]:
        """See `MethodSpec.stock_config`. PEFT reads the sizes of heads from the base."""
        config = super().stock_config(base)
        del config["token_dim"]
        return config
