"""From an assignment to a seat that can train: fetch its rows, find the checkpoint to resume from, open the adapter."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from workers.bases import LoadedBase
from workers.checkpoints import Snapshot, newest_verified
from workers.contract.errors import EncodedRowsLost
from workers.contract.reports import CheckpointRejected, Prepared
from workers.contract.spec import DatasetRef, SeatAssignment
from workers.data.batches import BatchPlan
from workers.data.encode import EncodedData
from workers.data.stored import fetch
from workers.engine.attempt import Attempt
from workers.engine.guards import memory_guarded
from workers.engine.seat import Seat
from workers.engine.stepper import Stepper
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
) -> Ready:
    """Fetch the encoded rows and verify the checkpoint, without the model.

    Raises: StorageUnavailable, EncodedRowsLost.
    """
    data = assignment.spec.data
    training = encoded(data.training)
    validation = EncodedData(()) if data.validation is None else encoded(data.validation)
    return Ready(training, validation, newest_verified(assignment, base.digest, shapes, reject))


def encoded(dataset: DatasetRef) -> EncodedData:
    """The file's rows as tokens. Raises: StorageUnavailable, EncodedRowsLost."""
    if dataset.encoded is None:
        raise EncodedRowsLost("the job's rows are not encoded yet; they are encoded now")
    return fetch(dataset.encoded)


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
    stored = attempt.order.spec.data.training.encoded
    return attempt.report(
        Prepared,
        total_steps=seat.total_steps,
        resumed_from_step=seat.step,
        training_rows=len(training.rows),
        validation_rows=len(validation.rows),
        supervised_tokens=0 if stored is None else stored.trained_tokens,
        truncated_rows=training.truncated + validation.truncated,
        dropped_rows=training.dropped + validation.dropped,
        left_out=dict(Counter(training.left_out) + Counter(validation.left_out)),
        trainable_parameters=sum(weight.numel() for weight in seat.adapter.weights().values()),
    )
