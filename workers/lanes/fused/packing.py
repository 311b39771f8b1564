"""Whether a base can take rows end to end, found out by trying: packed, it must answer as it does row by row."""

import logging
from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor

from workers.lanes.fused.attention import PACKED

log = logging.getLogger(__name__)

PROBE_ROWS: Final = (5, 3, 8)  # tokens
ALIKE: Final = 0.1  # of the norm of the hidden states; bf16 and another order of sums make up a third of it
UNMOVED: Final = 0.02  # the same, between two packed passes; int8 looks at whole batches for outliers


@torch.no_grad()
def switch_to_packing(model: Any) -> bool:
    """Let `model` attend within packed rows from now on. False: it cannot, and was left as it was.

    Recurrent and convolutional layers mix neighbours in a row, some attention has its own rules (caps, sinks, biases),
    and some models pass nothing on to their attention. So packed rows must be answered as they are one by one, and must
    not move when a neighbour changes.
    """
    own = model.config._attn_implementation
    one, other = _probe_rows(model, 0), _probe_rows(model, 1)
    wanted = torch.cat([_hidden(model, input_ids=row) for row in one], dim=1)
    try:
        model.set_attn_implementation(PACKED)
        packed = _packed(model, one)
        beside_another = _packed(model, [other[0], *one[1:]])
    except Exception as error:  # noqa: BLE001  # whatever a model does with inputs it does not know
        log.info("rows are padded, not packed: %s", error)
    else:
        first = PROBE_ROWS[0]
        apart, moved = _apart(packed, wanted), _apart(beside_another[:, first:], packed[:, first:])
        if apart <= ALIKE and moved <= UNMOVED:
            return True
        log.info("rows are padded, not packed: off by %.3f, moved by a neighbour by %.3f", apart, moved)
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
    """Different tokens in every row, each [1, T]."""
    vocabulary = model.get_input_embeddings().weight
    ids = torch.randperm(len(vocabulary), generator=torch.Generator().manual_seed(seed))[: sum(PROBE_ROWS)]
    return [row[None].to(vocabulary.device) for row in torch.split(ids, list(PROBE_ROWS))]
