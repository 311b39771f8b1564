"""The actor shells that a cluster runs: JSON strings in and out, so that a driver needs no torch to hold a handle.

May import: the standard library, `workers.contract` and `workers.node`. The training stack is imported inside the
worker process only.
"""

import importlib
import os
from typing import Any, Final

from workers.contract.encoding import EncodeOrder
from workers.contract.reports import ExitClass
from workers.contract.spec import HostSpec, SeatAssignment
from workers.node import Node

SPIN_COUNT: Final = 20_000
"""Turns an OpenMP thread waits awake for the next piece of work, about 0.1 ms. Without any, waking costs more than the
small products of an adapter; with libgomp's own 300,000, waiting takes the cores from other processes."""
EXIT_ABANDONED: Final = 70
"""Status of a process that ended because no orchestrator polled its host any more."""


class HostActor:
    """`workers.host.TrainingHost` behind strings. Contract errors cross the process border as themselves."""

    def __init__(self, host_spec_json: str) -> None:
        spec = Node.of(os.environ).localize(HostSpec.model_validate_json(host_spec_json))
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPIN_COUNT))  # read once, when torch loads OpenMP
        self._orphans = _clean_machine()  # or what a dead host left behind would keep the device's memory
        host_module = importlib.import_module("workers.host")
        self._host: Any = host_module.TrainingHost(spec, leave=self._exit)
        self._host.start()

    def ping(self) -> str:
        """`"pong"`: the process is up, whatever its host is doing."""
        return "pong"

    def pid(self) -> int:
        """Process id of the worker."""
        return os.getpid()

    def attach(self, order_json: str) -> None:
        """`Host.attach` with a `SeatAssignment` as JSON. Raises: HostFull, pydantic.ValidationError."""
        self._host.attach(SeatAssignment.model_validate_json(order_json))

    def detach(self, job_id: str, attempt: int, reason: str) -> None:
        """`Host.detach`; `reason` is the value of an `ExitClass`."""
        self._host.detach(job_id, attempt, ExitClass(reason))

    def poll(self, cursor: int) -> str:
        """`Host.poll`: a `HostReport` as JSON."""
        report: str = self._host.poll(cursor).model_dump_json()
        return report

    def retire(self) -> None:
        """`Host.retire`."""
        self._host.retire()

    def stop(self) -> None:
        """End training at the next step boundary. Raises BaseDigestMismatch when the base was changed."""
        try:
            self._host.stop()
        finally:
            self._orphans.end_children()

    def _exit(self) -> None:
        """End this process. Only so is it certain that nothing of it trains on."""
        self._orphans.end_children()
        os._exit(EXIT_ABANDONED)


class EncoderActor:
    """`workers.encoding.encoder.WatchedEncoder` behind strings. Light: the process that it starts loads tokenizers."""

    def __init__(self) -> None:
        self._node = Node.of(os.environ)
        self._orphans = _clean_machine()
        self._encoder: Any = importlib.import_module("workers.encoding.encoder").WatchedEncoder()

    def encode(self, order_json: str) -> None:
        """`Encoder.encode` with an `EncodeOrder` as JSON. Raises: EncoderBusy, pydantic.ValidationError."""
        self._encoder.encode(self._node.localize_order(EncodeOrder.model_validate_json(order_json)))

    def abandon(self, key: str) -> None:
        """`Encoder.abandon`."""
        self._encoder.abandon(key)

    def poll(self) -> str:
        """`Encoder.poll`: an `EncoderReport` as JSON."""
        report: str = self._encoder.poll().model_dump_json()
        return report


def _clean_machine() -> Any:
    """Remove what dead actors left on this machine, and mark what this one starts. Returns `workers.orphans`."""
    orphans: Any = importlib.import_module("workers.orphans")
    orphans.mark_children()
    orphans.end_orphans()
    orphans.remove_folders()
    return orphans
