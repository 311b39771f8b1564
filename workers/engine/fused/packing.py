"""Whether a base can take rows end to end, found out by trying: packed, it must answer as it does row by row."""

import logging
from typing import Any, Final

import torch
from torch import Tensor

from workers.engine.fused.attention import PACKED

log = logging.getLogger(__name__)

PROBE_ROWS: Final = (5, 3, 8)  # tokens
TOLERANCE: Final = 0.03  # of the norm of the hidden states; quantized bases answer in bf16


@torch.no_grad()
def switch_to_packing(model: Any) -> bool:
    """Let `model` attend within packed rows from now on. False: it cannot, and was left as it was.

    Recurrent and convolutional layers mix neighbours in a row, some attention has its own rules (caps, sinks, biases),
    and some models pass nothing on to their attention: none of them answers alike.
    """
    own = model.config._attn_implementation
    rows = _probe_rows(model)
    wanted = [_hidden(model, input_ids=row) for row in rows]
    try:
        model.set_attn_implementation(PACKED)
        packed = _hidden(
            model,
            input_ids=torch.cat(rows, dim=1),
            position_ids=torch.cat([torch.arange(row.shape[1], device=row.device) for row in rows])[None],
            row_runs=tuple((1, row.shape[1]) for row in rows),
        )
        apart = float((packed - torch.cat(wanted, dim=1)).norm() / packed.norm())
    except Exception as error:  # noqa: BLE001  # whatever a model does with inputs it does not know
        log.info("rows are padded, not packed: %s", error)
    else:
        if apart <= TOLERANCE:
            return True
        log.info("rows are padded, not packed: packed hidden states are off by %.3f", apart)
    model.set_attn_implementation(own)
    return False


def _hidden(model: Any, **inputs: Any) -> Tensor:
    hidden: Tensor = model.get_decoder()(**inputs, use_cache=False).last_hidden_state.float()
    return hidden


def _probe_rows(model: Any) -> list[Tensor]:
    """Different tokens in every row, each [1, T]."""
    vocabulary = model.get_input_embeddings().weight
    ids = torch.randperm(len(vocabulary), generator=torch.Generator().manual_seed(0))[: sum(PROBE_ROWS)]
    return [row[None].to(vocabulary.device) for row in ids.split(PROBE_ROWS)]
