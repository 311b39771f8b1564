"""Runs the held-out prompts on base and adapters in a separate process that loads the base once."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from workers.contract.base import BaseSpec, ComputeDtype, Quantization
from workers.contract.sampling import SampleAnswers, SamplePrompt, SampleRequest
from workers.contract.spec import HostSpec

STOP = ("<end_of_turn>",)


class SamplingFailed(Exception):
    """The process ended with an error."""


def ask(base: BaseSpec, cache_dir: Path, questions: Sequence[SamplePrompt]) -> tuple[str, ...]:
    """Greedy answers in the order of the questions. Raises SamplingFailed."""
    host = HostSpec(
        id="demo-sample",
        base=base,
        quantization=Quantization.NF4,
        compute_dtype=ComputeDtype.FP32,  # for single tokens, CPUs are ten times faster than with bf16
        max_seats=1,
        cache_dir=str(cache_dir),
    )
    request = SampleRequest(host=host, questions=tuple(questions), stop=STOP)
    done = subprocess.run(
        [sys.executable, "-m", "workers.sample"],
        input=request.model_dump_json(),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SamplingFailed(f"asking the adapters failed:\n{done.stderr[-2000:]}")
    return SampleAnswers.model_validate_json(done.stdout.splitlines()[-1]).answers
