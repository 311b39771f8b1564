"""Causal language modelling: text rows, next-token loss over the supervised tokens."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workers.contract.base import BaseSpec
from workers.contract.rows import Row
from workers.contract.tasks import CausalLm
from workers.data.batches import MicroBatch, collate
from workers.data.chat import Tokens
from workers.data.encode import EncodedRow, encode_row
from workers.tasks.task import TASKS, Loss
from workers.tasks.token_loss import Scorer


@TASKS.register(CausalLm)
class CausalLmTask:
    """See `TrainableTask`."""

    def auto_class(self) -> Any:
        """Whatever transformers knows as a causal language model."""
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM

    def encode(self, tokenizer: Any, template: str | None, row: Row) -> Tokens:
        """See `TrainableTask.encode`."""
        return encode_row(tokenizer, template, row)

    def collate(self, rows: Sequence[EncodedRow], pad_id: int) -> MicroBatch:
        """See `TrainableTask.collate`."""
        return collate(rows, pad_id)

    def loss(self, model: Any) -> Loss:
        """See `TrainableTask.loss`."""
        return Scorer(model)

    def export(self, tokenizer: Any, base: BaseSpec, folder: Path) -> str | None:
        """The tokenizer with the chat template the rows were rendered with; returns that template."""
        own = copy.copy(tokenizer)  # shares the vocabulary, but not the template, with the thread that tokenizes
        own.chat_template = base.chat_template or tokenizer.chat_template
        own.save_pretrained(folder)
        template: str | None = own.chat_template
        return template
