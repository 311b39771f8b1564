"""Fifty stock clients that submit, poll and cancel, and one that uploads 100 MB at a time."""

import asyncio
import io
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import openai
from openai import AsyncOpenAI, OpenAI

from tests.builders.specs import chat_row

POLLS: Final = 5
"""Of one job, a second apart; then it is cancelled, so that the tenant's quota lasts."""
UPLOAD_BYTES: Final = 100_000_000
ROW: Final = json.dumps(chat_row("What follows?", "A row of a large file. " * 40)) + "\n"


@dataclass
class Done:
    """What was answered, and what was not."""

    answers: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)

    def figures(self) -> dict[str, Any]:
        return {"answers": dict(self.answers), "errors": dict(self.errors)}


def submit_and_poll(url: str, keys: list[str], files: list[str], seconds: float) -> dict[str, Any]:
    """One client for each key, for so long. They begin one after the other within the time that one job takes them:
    clients of different people are not in step.
    """
    done = Done()

    async def client(key: str, file_id: str, delay: float) -> None:
        await asyncio.sleep(delay)
        async with AsyncOpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0) as stock:
            while time.monotonic() < until:
                try:
                    await _one_job(stock, file_id, done.answers)
                except openai.APIError as error:
                    done.errors[f"{type(error).__name__}: {error}"[:200]] += 1
                    await asyncio.sleep(1)

    async def crowd() -> None:
        clients = zip(keys, files, strict=True)
        await asyncio.gather(*(client(key, file, POLLS * n / len(keys)) for n, (key, file) in enumerate(clients)))

    until = time.monotonic() + seconds
    asyncio.run(crowd())
    return done.figures()


async def _one_job(stock: AsyncOpenAI, file_id: str, answers: Counter[str]) -> None:
    supervised: Any = {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1, "batch_size": 4}}}
    job = await stock.fine_tuning.jobs.create(model="tiny", training_file=file_id, method=supervised)
    answers["submitted"] += 1
    for _ in range(POLLS):
        await asyncio.sleep(1)
        await stock.fine_tuning.jobs.retrieve(job.id)
        answers["polled"] += 1
    await stock.fine_tuning.jobs.cancel(job.id)
    answers["cancelled"] += 1


def upload_large_files(url: str, key: str, seconds: float) -> dict[str, Any]:
    """One file of 100 MB after the other, begun within `seconds`; each is deleted again."""
    done, content = Done(), ROW.encode() * (UPLOAD_BYTES // len(ROW))
    until = time.monotonic() + seconds
    with OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0, timeout=300) as stock:
        while time.monotonic() < until:
            try:
                file = stock.files.create(file=("large.jsonl", io.BytesIO(content)), purpose="fine-tune")
                stock.files.delete(file.id)
                done.answers["uploaded and deleted"] += 1
            except openai.APIError as error:
                done.errors[f"{type(error).__name__}: {error}"[:200]] += 1
                time.sleep(1)
    return done.figures()
