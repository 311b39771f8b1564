"""Stock PEFT as its users write it, started from the same adapter weights as the product's seats."""

import math
from collections.abc import Mapping

import torch
from peft import LoraConfig
from torch import Tensor, nn

from workers.contract.methods import Lora
from workers.data.batches import MicroBatch
from workers.rng import derive_seed


def peft_config(method: Lora) -> LoraConfig:
    """The same adapter in PEFT's words."""
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=method.rank,
        lora_alpha=2 * method.rank if method.alpha is None else method.alpha,
        lora_dropout=method.dropout,
        target_modules="all-linear" if method.all_linear else list(method.target_modules),
        use_rslora=method.rslora,
    )


def adapter_weights(model: nn.Module, adapter: str) -> dict[str, nn.Parameter]:
    """The adapter's trainable tensors, by name without the adapter's own."""
    marker = f".{adapter}."
    found = ((name, weight) for name, weight in model.named_parameters() if "lora_" in name and marker in name)
    return dict(sorted((name.replace(marker, "."), weight) for name, weight in found))


@torch.no_grad()
def seed_adapter(weights: Mapping[str, nn.Parameter], seed: int) -> None:
    """PEFT's initialisation (Kaiming-uniform A, zero B), drawn from the stream a seat with this seed draws from."""
    generator = torch.Generator().manual_seed(derive_seed(seed, "adapter"))
    for name, weight in weights.items():
        if ".lora_A." in name:
            fresh = torch.empty(weight.shape)
            nn.init.kaiming_uniform_(fresh, a=math.sqrt(5), generator=generator)
            weight.copy_(fresh)
        else:
            weight.zero_()


def labels_of(batch: MicroBatch) -> Tensor:
    """[B, T]: the tokens that carry loss, -100 elsewhere, as HF's loss wants them. It knows no weights but 0 and 1.

    Raises ValueError for others.
    """
    if batch.total_weight != batch.supervised:
        raise ValueError("HF's loss takes no fractional weights; compare the peers on rows whose weights are 0 or 1")
    return batch.input_ids.masked_fill(batch.loss_weights == 0, -100)
