"""The loss of a model on a job's validation file, written as plainly as it can be."""

import torch
from transformers import AutoTokenizer

from workers.contract.spec import JobSpec
from workers.data.encode import encode_file
from workers.data.text_encoder import TextEncoder


def loss_of(model: torch.nn.Module, spec: JobSpec) -> float:
    """The validation loss computed naively, row by row over full logits."""
    tokenizer = AutoTokenizer.from_pretrained(spec.base.location)
    nll, total_weight = 0.0, 0.0
    assert spec.data.validation is not None
    for row in encode_file(TextEncoder(tokenizer, None), spec.data, spec.data.validation).rows:
        ids, weights = torch.tensor([row.input_ids]), torch.tensor(row.loss_weights[1:])
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, -ids.shape[1] : -1]  # behind virtual tokens, if there are any
        nll += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="none") @ weights)
        total_weight += float(weights.sum())
    return nll / total_weight
