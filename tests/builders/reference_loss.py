"""The loss of a model on a job's validation file, written as plainly as it can be."""

import torch
from transformers import AutoTokenizer

from workers.contract.spec import JobSpec
from workers.data.encode import encode_validation
from workers.data.text_encoder import TextEncoder


def loss_of(model: torch.nn.Module, spec: JobSpec) -> float:
    """The validation loss computed naively, row by row over full logits."""
    tokenizer = AutoTokenizer.from_pretrained(spec.base.location)
    nll, count = 0.0, 0.0
    for row in encode_validation(TextEncoder(tokenizer, None), spec.data).rows:
        ids, mask = torch.tensor([row.input_ids]), torch.tensor(row.loss_weights[1:]).bool()
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, :-1][mask]
        weights = torch.tensor(row.loss_weights[1:])[mask]
        nll += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:][mask], reduction="none") @ weights)
        count += float(weights.sum())
    return nll / count
