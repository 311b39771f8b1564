"""`ScriptedHost` and `ScriptedEncoder` as Ray actors, with the interfaces of those in `workers.actor`."""

import os
import time

from tests.builders.scripted_encoder import ScriptedEncoder
from tests.builders.scripted_host import ScriptedHost
from workers.contract.encoding import EncodeOrder
from workers.contract.reports import ExitClass
from workers.contract.spec import HostSpec, SeatAssignment


class ScriptedActor:
    """Strings in and out. The test calls `play` to script the host."""

    def __init__(self, host_spec_json: str) -> None:
        self._host = ScriptedHost(HostSpec.model_validate_json(host_spec_json))

    def attach(self, order_json: str) -> None:
        self._host.attach(SeatAssignment.model_validate_json(order_json))

    def detach(self, job_id: str, attempt: int, reason: str) -> None:
        self._host.detach(job_id, attempt, ExitClass(reason))

    def poll(self, cursor: int) -> str:
        return self._host.poll(cursor).model_dump_json()

    def retire(self) -> None:
        self._host.retire()

    def play(self, method: str, *arguments: object) -> None:
        getattr(self._host, method)(*arguments)

    def sleep(self, seconds: float) -> None:
        """Keep one thread of the actor busy."""
        time.sleep(seconds)

    def environment(self) -> dict[str, str]:
        return dict(os.environ)


class ScriptedEncoderActor:
    """An encoder that holds its orders until the test calls `play`."""

    def __init__(self) -> None:
        self._encoder = ScriptedEncoder(prompt=False)

    def encode(self, order_json: str) -> None:
        self._encoder.encode(EncodeOrder.model_validate_json(order_json))

    def abandon(self, key: str) -> None:
        self._encoder.abandon(key)

    def poll(self) -> str:
        return self._encoder.poll().model_dump_json()

    def play(self, method: str) -> None:
        getattr(self._encoder, method)()
