"""Probes whether a base supports packed rows: the outputs must equal those of the same rows one by one."""

import logging
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from workers.lanes.fused.attention import PACKED

log = logging.getLogger(__name__)

PROBE_ROWS: Final = (5, 3, 8)  # tokens
ALIKE: Final = 0.1  # of the norm of the hidden states; bf16 and the order of sums account for a third of it
UNMOVED: Final = 0.02  # likewise, between two packed passes; int8 finds outliers per batch


@torch.no_grad()
def switch_to_packing(model: Any) -> bool:
    """Switch `model` to packed attention. False: it does not support packing and is unchanged.

    Recurrent and convolutional layers mix adjacent rows, some attention has its own rules (caps, sinks, biases), and
    some models pass no arguments to their attention. So packed rows must give the same output as one by one, and a row
    must not change when another row does.
    """
    own = model.config._attn_implementation
    one, other = _probe_rows(model, 0), _probe_rows(model, 1)
    wanted = torch.cat([_hidden(model, input_ids=row) for row in one], dim=1)
    try:
        model.set_attn_implementation(PACKED)
        packed = _packed(model, one)
        beside_another = _packed(model, [other[0], *one[1:]])
    except Exception as error:  # noqa: BLE001  # a model may raise anything for unknown inputs
        log.info("rows are padded, not packed: %s", error)
    else:
        first = PROBE_ROWS[0]
        apart, moved = _apart(packed, wanted), _apart(beside_another[:, first:], packed[:, first:])
        if apart <= ALIKE and moved <= UNMOVED:
            return True
        log.info("rows are padded, not packed: packing changes them by %.3f, an adjacent row by %.3f", apart, moved)
    model.set_attn_implementation(own)
    return False


def _packed(model: Any, rows: Sequence[Tensor]) -> Tensor:
    return _hidden(
        model,
        input_ids=torch.cat(list(rows), dim=1),
        position_ids=torch.cat([torch.arange(row.shape[1], device=row.device) for row in rows])[None],
        seq_lens=tuple((1, row.shape[1]) for row in rows),
    )


def _apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def _hidden(model: Any, **inputs: Any) -> Tensor:
    hidden: Tensor = model.get_decoder()(**inputs, use_cache=False).last_hidden_state.float()
    return hidden


def _probe_rows(model: Any, seed: int) -> list[Tensor]:
    """Rows of distinct tokens, each [1, T]."""
    vocabulary = model.get_input_embeddings().weight
    ids = torch.randperm(len(vocabulary), generator=torch.Generator().manual_seed(seed))[: sum(PROBE_ROWS)]
    return [row[None].to(vocabulary.device) for row in torch.split(ids, list(PROBE_ROWS))]
