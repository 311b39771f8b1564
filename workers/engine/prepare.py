"""From an order to a seat that can train: rows to tokens and the checkpoint to resume from, then the adapter."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from workers.bases import LoadedBase
from workers.checkpoints import Snapshot, newest_verified
from workers.contract.reports import CheckpointRejected, Prepared
from workers.contract.spec import SeatOrder
from workers.data.batches import BatchPlan
from workers.data.encode import EncodedData, encode_training, encode_validation
from workers.engine.attempt import Attempt
from workers.engine.guards import memory_guarded
from workers.engine.seat import Seat
from workers.engine.stepper import Stepper


class Abandoned(Exception):
    """Nobody waits for this any more."""


@dataclass(frozen=True)
class Ready:
    """All that a newcomer brings, but for what lies on the device."""

    training: EncodedData
    validation: EncodedData
    snapshot: Snapshot | None


def read(
    order: SeatOrder,
    base: LoadedBase,
    shapes: Mapping[str, tuple[int, ...]],
    reject: Callable[[CheckpointRejected], None],
    abandoned: Callable[[], bool],
) -> Ready:
    """Read, tokenise and verify; nothing here touches the model. Gives up before the next row once `abandoned`.

    Raises: StorageUnavailable, DataError, ValidationDataError.
    """

    def go_on() -> None:
        if abandoned():
            raise Abandoned

    template, data = order.spec.base.chat_template, order.spec.data
    training = encode_training(base.tokenizer, template, data, go_on)
    validation = encode_validation(base.tokenizer, template, data, go_on)
    go_on()
    return Ready(training, validation, newest_verified(order, base.digest, shapes, reject))


def seat_of(order: SeatOrder, ready: Ready, base: LoadedBase, stepper: Stepper) -> Seat:
    """Open the adapter and continue from the checkpoint, if there is one. Whatever is raised, nothing stays open.

    Raises: OutOfMemory, InvalidTargetModules.
    """
    spec = order.spec
    plan = BatchPlan(ready.training.rows, spec.training, spec.seed, base.tokenizer.pad_token_id or 0)
    with memory_guarded("the adapter", "rank"):
        adapter = stepper.open(spec)
        try:
            seat = Seat(order, adapter, plan, ready.validation.rows)
            if ready.snapshot is not None:
                seat.restore(ready.snapshot)
        except BaseException:
            stepper.close(adapter)
            raise
    return seat


def prepared(attempt: Attempt, seat: Seat, ready: Ready) -> Prepared:
    """The report of a seat that can train."""
    training, validation = ready.training, ready.validation
    return attempt.say(
        Prepared,
        total_steps=seat.total_steps,
        resumed_from_step=seat.step,
        training_rows=len(training.rows),
        validation_rows=len(validation.rows),
        supervised_tokens=training.supervised_tokens,
        truncated_rows=training.truncated + validation.truncated,
        dropped_rows=training.dropped + validation.dropped,
        trainable_parameters=sum(weight.numel() for weight in seat.adapter.weights().values()),
    )
