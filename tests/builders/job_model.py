"""`JobModel`: what a tenant may expect of a job, in a few lines and without a database, a loop or a host.

Events between two calls of `settle` count as simultaneous: a host's reports apply before the tenant's desired state,
and a host that dies loses what it has not reported.
"""

from dataclasses import dataclass
from typing import Literal

from orchestrator.db.states import Desired

Where = Literal["running", "paused", "succeeded", "cancelled", "failed"]
Told = Literal["ok", "user", "infra"]

OVER = frozenset({"succeeded", "cancelled", "failed"})


@dataclass
class JobModel:
    """One job. `step` is the last reported step, `saved` that of its newest checkpoint."""

    base: str
    max_infra_retries: int
    max_user_retries: int
    where: Where = "running"
    desired: Desired = Desired.RUN
    step: int = 0
    saved: int = 0
    infra_failures: int = 0
    user_failures: int = 0
    host_step: int = 0
    host_saved: int = 0
    told: Told | None = None
    host_died: bool = False

    @property
    def over(self) -> bool:
        return self.where in OVER

    @property
    def trains(self) -> bool:
        """Whether it has a live seat that has not ended."""
        return self.where == "running" and self.told is None and not self.host_died

    def train(self, steps: int, save: bool) -> None:
        self.host_step += steps
        self.host_saved = self.host_step if save else self.host_saved

    def settle(self) -> None:
        """Apply everything that happened since the last call."""
        if self.where == "running":
            self._hear()
        if not self.over and self.desired is Desired.CANCEL:
            self.where = "cancelled"
        if self.where == "paused" and self.desired is Desired.RUN:
            self._start()
        self.told, self.host_died = None, False
        self.host_step, self.host_saved = self.step, self.saved

    def _hear(self) -> None:
        if not self.host_died:
            self.step = self.host_step
            self._save(self.host_saved)
        if self.desired is Desired.CANCEL:
            self.where = "cancelled"
        elif self.told == "ok" and not self.host_died:
            self.where = "succeeded"
        elif self.told == "user" and not self.host_died:
            self.user_failures += 1
            self._try_again(self.user_failures <= self.max_user_retries)
        elif self.told == "infra" or self.host_died:
            self.infra_failures += 1
            self._try_again(self.infra_failures <= self.max_infra_retries)
        elif self.desired is Desired.PAUSE:
            self.where = "paused"
            self._save(self.step)

    def _try_again(self, within_budget: bool) -> None:
        if not within_budget:
            self.where = "failed"
            self.infra_failures = min(self.infra_failures, self.max_infra_retries)
            self.user_failures = min(self.user_failures, self.max_user_retries)
        elif self.desired is Desired.PAUSE:
            self.where = "paused"
        else:
            self._start()

    def _save(self, step: int) -> None:
        if step > self.saved:
            self.saved, self.infra_failures = step, 0

    def _start(self) -> None:
        self.where, self.step = "running", self.saved
