"""The demo from start to end."""

import contextlib
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import openai
from rich.console import Console

from api.cli.bootstrap import new_admin_key
from api.cli.client import OrchardClient
from api.cli.unpack import unpack
from api.demo.answers import ask
from api.demo.outcome import Example, json_line, print_table
from api.demo.progress import follow
from api.demo.tasks import TASKS
from api.demo.tenants import Followed, cancel_live, enter, submit_all
from api.example.base import BASE_ID
from api.example.prepare import prepare
from orchestrator.embedded.stack import EmbeddedStack, StackOptions
from workers.contract.base import BaseSpec
from workers.contract.sampling import SamplePrompt

JOBS_LIMIT_S = 1_500.0
CATALOGUE = "demo-catalogue.yaml"  # separate from `catalogue.yaml`, which belongs to `orchard up` in the same folder


def run(home: Path, console: Console) -> bool:
    """Run everything below `home`; True when every job succeeded. The JSON line is the last on stdout."""
    started = time.monotonic()
    console.print("Joining the base and reading its sizes …")
    catalogue, path = prepare(home, CATALOGUE)
    with tempfile.TemporaryDirectory(prefix="orchard-demo-") as folder:
        adapters = Path(folder)
        jobs = _train(StackOptions(home, path, port=0, mlflow_port=0), adapters, console)
        results = [job.result() for job in jobs]
        console.print("The stack is stopped. Asking base and adapters a held-out prompt each …")
        examples = _examples(catalogue.bases[0].spec, home.resolve() / "cache", jobs, adapters)
    print_table(console, results, examples)
    console.print(f"Everything is kept. To browse it again: orchard up --home {home}", soft_wrap=True, markup=False)
    console.file.write(json_line(BASE_ID, results, time.monotonic() - started) + "\n")
    return all(result.status == "succeeded" for result in results)


def _train(options: StackOptions, adapters: Path, console: Console) -> list[Followed]:
    """Start the stack, run all jobs, fetch the adapters, stop the stack."""
    console.print("Starting Ray, MLflow, the API and the orchestrator …")
    with _running(EmbeddedStack(options, lambda text: console.print(text, soft_wrap=True, markup=False))) as stack:
        console.print(f"API {stack.api_url} · MLflow {stack.mlflow_url} · logs {stack.home / 'logs'}", soft_wrap=True)
        with OrchardClient(stack.api_url, new_admin_key(stack.database_url, "demo")) as admin:
            clients = [enter(admin, task, stack.api_url) for task in TASKS]
        try:
            jobs = [job for task, client in zip(TASKS, clients, strict=True) for job in submit_all(client, task)]
            for task in TASKS:
                console.print(f"{task.tenant}: {task.told}")
            follow(jobs, console, JOBS_LIMIT_S)
            for job in jobs:
                _fetch(stack.api_url, job, adapters)
        finally:
            for client in clients:
                with contextlib.suppress(openai.OpenAIError):
                    cancel_live(client)
    return jobs


@contextlib.contextmanager
def _running(stack: EmbeddedStack) -> Iterator[EmbeddedStack]:
    stop = threading.Event()
    with stack:
        watcher = threading.Thread(target=stack.watch, args=(stop,), name="stack-watch")
        watcher.start()
        try:
            yield stack
        finally:
            stop.set()
            watcher.join()


def _fetch(url: str, job: Followed, adapters: Path) -> None:
    if job.job.status == "succeeded":
        with OrchardClient(url, job.client.api_key) as client, client.adapter(job.job.id) as chunks:
            unpack(chunks, adapters / job.job.id, job.job.id)


def _examples(base: BaseSpec, cache_dir: Path, jobs: Sequence[Followed], adapters: Path) -> list[Example]:
    """One held-out prompt for each job; the base runs once per task."""
    prompts = {task.name: task.held_out() for task in TASKS}
    questions = [SamplePrompt(prompt=prompt) for prompt, _ in prompts.values()]
    done = [job for job in jobs if (adapters / job.job.id).is_dir()]
    for job in done:
        questions.append(SamplePrompt(prompt=prompts[job.task.name][0], adapter=str(adapters / job.job.id / "peft")))
    answers = ask(base, cache_dir, questions)
    of_base = dict(zip(prompts, answers, strict=False))
    of_job = {job.job.id: answer for job, answer in zip(done, answers[len(prompts) :], strict=True)}
    return [
        Example(*prompts[job.task.name], base=of_base[job.task.name], adapter=of_job.get(job.job.id, "(no adapter)"))
        for job in jobs
    ]
