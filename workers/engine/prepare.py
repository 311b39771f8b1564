"""From an assignment to a seat that can train: tokenize rows, find the checkpoint to resume from, open the adapter."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workers.bases import LoadedBase
from workers.checkpoints import Snapshot, newest_verified
from workers.contract.reports import CheckpointRejected, Prepared
from workers.contract.rows import Row
from workers.contract.spec import SeatAssignment
from workers.data.batches import BatchPlan
from workers.data.encode import EncodedData, encode_training, encode_validation, within_vocabulary
from workers.data.pausing import Pause
from workers.data.tokens import Tokens
from workers.engine.attempt import Attempt
from workers.engine.guards import memory_guarded
from workers.engine.seat import Seat
from workers.engine.stepper import Stepper
from workers.engine.turns import Reader
from workers.tasks import TASKS


@dataclass(frozen=True)
class Ready:
    """Everything a new seat needs except its tensors on the device."""

    training: EncodedData
    validation: EncodedData
    snapshot: Snapshot | None


def read(
    assignment: SeatAssignment,
    base: LoadedBase,
    shapes: Mapping[str, tuple[int, ...]],
    reject: Callable[[CheckpointRejected], None],
    reader: Reader,
) -> Ready:
    """Read, tokenize and verify, without the model.

    Raises: StorageUnavailable, DataError, ValidationDataError, Abandoned.
    """
    spec = assignment.spec
    task = TASKS.of(spec.task).encoder(base.tokenizer, spec.base.chat_template, spec.data)
    checked = within_vocabulary(task, base.tokenizer, embeddings(base.model))

    def encode(row: Row, pause: Pause) -> Tokens:
        tokens = checked(row, pause)
        reader.row_done()
        return tokens

    try:
        training = encode_training(encode, spec.data, reader.pause)
        reader.rest()  # the other file and the checkpoint may have to be waited for
        validation = encode_validation(encode, spec.data, reader.pause)
        reader.pause()
    finally:
        reader.rest()
    return Ready(training, validation, newest_verified(assignment, base.digest, shapes, reject))


def embeddings(model: Any) -> int:
    """How many tokens the base knows: ids from 0."""
    return int(model.get_input_embeddings().weight.shape[0])


def seat_of(assignment: SeatAssignment, ready: Ready, base: LoadedBase, stepper: Stepper) -> Seat:
    """Open the adapter and resume from the checkpoint, if there is one. On any error the adapter is closed again.

    Raises: OutOfMemory, InvalidTargetModules.
    """
    spec = assignment.spec
    pad_id, collate = base.tokenizer.pad_token_id or 0, TASKS.of(spec.task).collate
    plan = BatchPlan(ready.training.rows, spec.training, spec.seed, pad_id, collate)
    with memory_guarded("the adapter", "rank"):
        adapter = stepper.open(spec)
        try:
            seat = Seat(assignment, adapter, plan, ready.validation.rows)
            if ready.snapshot is not None:
                seat.restore(ready.snapshot)
        except BaseException:
            stepper.close(adapter)
            raise
    return seat


def prepared(attempt: Attempt, seat: Seat, ready: Ready) -> Prepared:
    """The report that a seat is ready to train."""
    training, validation = ready.training, ready.validation
    return attempt.report(
        Prepared,
        total_steps=seat.total_steps,
        resumed_from_step=seat.step,
        training_rows=len(training.rows),
        validation_rows=len(validation.rows),
        supervised_tokens=training.supervised_tokens,
        truncated_rows=training.truncated + validation.truncated,
        dropped_rows=training.dropped + validation.dropped,
        left_out=dict(Counter(training.left_out) + Counter(validation.left_out)),
        trainable_parameters=sum(weight.numel() for weight in seat.adapter.weights().values()),
    )
