"""`Reconnect`: how a command that follows a job outlasts an outage of the server."""

import time
from collections.abc import Callable

from api.cli.client import OrchardClient
from api.cli.errors import ServerAway
from api.cli.output import say

RECONNECT_S = 1.0
GIVE_UP_S = 600.0  # longer than a restart or migration of the API


class Reconnect:
    """Waits between tries for as long as an outage may last. The first contact must succeed: the address may be wrong.

    It reports an outage once, after the second failed try; a connection that a proxy cut is back by then.
    """

    def __init__(
        self,
        client: OrchardClient,
        pause: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._pause = pause
        self._clock = clock
        self._away_since: float | None = None
        self._said = False

    def answered(self) -> None:
        """Record that the server responded, which ends any outage."""
        self._away_since, self._said = None, False

    def again(self) -> None:
        """Wait a moment before another call to a server that is well."""
        self.answered()
        self._pause(RECONNECT_S)

    def wait(self, away: ServerAway) -> None:
        """Wait until the next try. Raises `away` when there was no contact yet, or none for `GIVE_UP_S`."""
        now = self._clock()
        since = now if self._away_since is None else self._away_since
        if not self._client.has_answered or now - since >= GIVE_UP_S:
            raise away
        if self._away_since is not None and not self._said:
            self._said = True
            say(f"{away.message.rstrip('.')}. The job is not affected; retrying for {GIVE_UP_S / 60:.0f} minutes.")
        self._away_since = since
        self._pause(RECONNECT_S)
