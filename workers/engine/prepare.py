"""From an order to a seat that can train: rows to tokens, adapter, resume."""

from collections.abc import Callable

from workers.bases import LoadedBase
from workers.checkpoints import newest_verified
from workers.contract.reports import Prepared, Report
from workers.data.batches import BatchPlan
from workers.data.encode import encode_training, encode_validation
from workers.engine.attempt import Attempt
from workers.engine.seat import Seat
from workers.engine.stepper import Stepper


def prepare(attempt: Attempt, base: LoadedBase, stepper: Stepper, report: Callable[[Report], None]) -> None:
    """Give `attempt` its seat and report `Prepared`.

    Raises: BaseUnavailable, StorageUnavailable, DataError, ValidationDataError, InvalidTargetModules.
    """
    order, spec = attempt.order, attempt.order.spec
    base.require_suits(spec)
    template = spec.base.chat_template
    training = encode_training(base.tokenizer, template, spec.data)
    validation = encode_validation(base.tokenizer, template, spec.data)
    pad_id = base.tokenizer.pad_token_id or 0
    plan = BatchPlan(training.rows, spec.training, spec.seed, pad_id)
    seat = Seat(order, stepper.open(spec), plan, validation.rows)
    attempt.seat = seat
    shapes = {name: tuple(weight.shape) for name, weight in seat.adapter.weights().items()}
    snapshot = newest_verified(order, base.digest, shapes, report)
    if snapshot is not None:
        seat.restore(snapshot)
    report(
        attempt.say(
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
    )
