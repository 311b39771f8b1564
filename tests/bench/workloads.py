"""The jobs of a workload: adapters, schedules and synthesised rows, the same for every peer and every run."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from workers.contract.methods import Lora
from workers.contract.spec import LrSchedule, TrainingSpec
from workers.data.batches import BatchPlan, collate
from workers.data.encode import EncodedRow

FIRST_TOKEN: Final = 8  # below it lie pads and other specials
W7_TOKENS: Final = 64  # mean tokens of a job's step, whatever is padded


@dataclass(frozen=True)
class Job:
    """One job as every peer gets it."""

    id: str
    method: Lora
    training: TrainingSpec
    seed: int
    rows: tuple[EncodedRow, ...]

    def plan(self, pad_id: int) -> BatchPlan:
        """The rows of each step."""
        return BatchPlan(self.rows, self.training, self.seed, pad_id, collate)

    @property
    def steps(self) -> int:
        """Optimizer steps."""
        return self.training.total_steps(len(self.rows))

    @property
    def tokens(self) -> int:
        """Real tokens over all steps."""
        return self.training.n_epochs * sum(len(row.input_ids) for row in self.rows)

    @property
    def supervised(self) -> int:
        """Tokens with loss over all steps."""
        return self.training.n_epochs * sum(row.supervised for row in self.rows)


@dataclass(frozen=True)
class Scale:
    """What the command line may change about a workload; None leaves it as the workload has it."""

    vocab_size: int
    jobs: int | None = None
    steps: int | None = None
    tokens: int | None = None
    supervised_share: float = 0.5


def make_jobs(workload: str, scale: Scale) -> list[Job]:
    """The jobs of `workload`, one of WORKLOADS."""
    return _MAKERS[workload](scale)


def shortened(jobs: Sequence[Job], steps: int) -> list[Job]:
    """The same jobs, stopped after `steps` steps: for warm-up, profiles and memory."""
    return [
        Job(job.id, job.method, job.training.model_copy(update={"n_epochs": 1}), job.seed, job.rows[:kept])
        for job in jobs
        for kept in [steps * job.training.batch_size]
    ]


def _swarm(scale: Scale) -> list[Job]:
    """W1: many small jobs, alike."""
    length = scale.tokens or 32
    return [_job(n, scale, [length] * (scale.steps or 20), 1) for n in range(scale.jobs or 32)]


def _compute_bound(scale: Scale) -> list[Job]:
    """W2: few jobs whose own batch fills the machine; fusing cannot help and must not hurt."""
    length = scale.tokens or 512
    return [_job(n, scale, [length] * (4 * (scale.steps or 50)), 4) for n in range(scale.jobs or 4)]


def _heterogeneous(scale: Scale) -> list[Job]:
    """W3: nothing is alike."""
    ranks, batches = (4, 8, 16, 64), (1, 2, 4)
    targets = (
        ("q_proj", "v_proj"),
        ("q_proj", "k_proj", "v_proj", "o_proj"),
        ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),
    )
    chooser = random.Random("w3")
    jobs = []
    for number in range(scale.jobs or 16):
        batch, epochs = batches[number % 3], 1 + number % 2
        rows = batch * max(1, (scale.steps or 10) // epochs)
        lengths = [_log_normal(chooser) for _ in range(rows)]
        training = {
            "n_epochs": epochs,
            "learning_rate": (1e-4, 3e-4, 1e-3)[number % 3],
            "lr_schedule": list(LrSchedule)[number // 2 % 3],
        }
        method = Lora(rank=ranks[number % 4], alpha=16, target_modules=targets[number // 4 % 3])
        jobs.append(_job(number, scale, lengths, batch, method, **training))
    return jobs


def _padded(fraction: float) -> Callable[[Scale], list[Job]]:
    """W7: a fixed number of tokens a step; padding all jobs to the longest would waste `fraction` of the slots."""

    def make(scale: Scale) -> list[Job]:
        count = scale.jobs or 8
        longest = round(W7_TOKENS / (1 - fraction))
        others = (count * W7_TOKENS - longest) // (count - 1)
        steps = scale.steps or 10
        return [_job(n, scale, [longest if n == 0 else others] * steps, 1) for n in range(count)]

    return make


def _job(
    number: int,
    scale: Scale,
    lengths: Sequence[int],
    batch: int,
    method: Lora | None = None,
    **training: object,
) -> Job:
    chooser = random.Random(f"rows:{number}")
    rows = []
    for line, length in enumerate(lengths, start=1):
        ids = [chooser.randrange(FIRST_TOKEN, scale.vocab_size) for _ in range(length)]
        prompt = min(length - 1, round(length * (1 - scale.supervised_share)))
        rows.append(EncodedRow.of(line, ids, [position >= prompt for position in range(length)]))
    fields: dict[str, object] = {"n_epochs": 1, "learning_rate": 1e-3, "batch_size": batch, "micro_batch_size": batch}
    return Job(
        id=f"job-{number:02}",
        method=method or Lora(rank=8, alpha=16, target_modules=("q_proj", "v_proj")),
        training=TrainingSpec.model_validate(fields | training),
        seed=1000 + number,
        rows=tuple(rows),
    )


def _log_normal(chooser: random.Random) -> int:
    """A length in tokens: median 64, a long tail, 16 to 512."""
    return min(512, max(16, round(chooser.lognormvariate(math.log(64), 0.9))))


_MAKERS: Final[dict[str, Callable[[Scale], list[Job]]]] = {
    "W1": _swarm,
    "W2": _compute_bound,
    "W3": _heterogeneous,
    **{f"W7-{percent:02}": _padded(percent / 100) for percent in (0, 30, 60, 80)},
}
WORKLOADS: Final = tuple(_MAKERS)
