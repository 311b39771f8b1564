"""Causal language modeling: text rows, next-token loss over the supervised tokens."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workers.contract.base import BaseSpec
from workers.contract.spec import TextOptions
from workers.contract.tasks import CausalLm
from workers.data.batches import MicroBatch, collate
from workers.data.encode import EncodedRow
from workers.data.text_encoder import TextEncoder
from workers.data.tokens import RowEncoder
from workers.tasks.causality import is_causal
from workers.tasks.task import TASKS, Loss
from workers.tasks.token_loss import Scorer


@TASKS.register(CausalLm)
class CausalLmTask:
    """See `TrainableTask`."""

    def auto_class(self) -> Any:
        """The transformers class of causal language models."""
        from transformers import AutoModelForCausalLM

        return AutoModelForCausalLM

    def unfit(self, model: Any) -> str | None:
        """See `TrainableTask.unfit`: a model that sees later tokens learns to copy them, not to predict."""
        return None if is_causal(model) else "it is bidirectional: its tokens see those after them"

    def encoder(self, tokenizer: Any, template: str | None, options: TextOptions) -> RowEncoder:
        """See `TrainableTask.encoder`."""
        return TextEncoder(tokenizer, template, options)

    def collate(self, rows: Sequence[EncodedRow], pad_id: int) -> MicroBatch:
        """See `TrainableTask.collate`."""
        return collate(rows, pad_id)

    def loss(self, model: Any) -> Loss:
        """See `TrainableTask.loss`."""
        return Scorer(model)

    def export(self, tokenizer: Any, base: BaseSpec, folder: Path) -> str | None:
        """Save the tokenizer with the chat template of the training rows. Returns the template."""
        own = copy.copy(tokenizer)  # shares the vocabulary with the tokenizing thread, but not the template
        own.chat_template = base.chat_template or tokenizer.chat_template
        own.save_pretrained(folder)
        template: str | None = own.chat_template
        return template
