"""What `orchard watch` and `submit --watch` say at the end."""

import json
from typing import Any

import httpx2
import pytest
from typer.testing import CliRunner

from api.cli.advice import ADVICE, UNKNOWN, Party, advice_for
from api.cli.main import app
from api.cli.models import Job
from api.cli.session import Session
from api.cli.summary import Losses, summary
from orchestrator.registry.errors import AdapterRefused, RegistryRefused
from tests.builders.fake_api import FakeApi, make_event, make_job, own_settings, page
from workers.contract.errors import ErrorCode

JOB = "/v1/fine_tuning/jobs/ftjob-1"
PAGE = "https://mlflow.example.test/#/models/triage-tiny/versions/3?workspace=acme"


@pytest.fixture(autouse=True)
def _own_settings(tmp_path, monkeypatch):
    own_settings(tmp_path, monkeypatch, "sk-orchard-test")
    monkeypatch.setattr("api.cli.watch.INTERVAL_S", 0)


def orchard(api: FakeApi, *args: str):
    return CliRunner().invoke(app, list(args), obj=Session(transport=api.transport))


def trained(**changes: Any) -> dict[str, Any]:
    """A job of 300 steps that succeeded."""
    progress = {"step": 300, "total_steps": 300, "eval_loss_before": 2.5, "eval_loss_after": 0.512345}
    progress |= {"registry": {"name": "triage-tiny", "version": "3", "url": PAGE}} | changes.pop("x_orchard", {})
    fields = {"user_provided_suffix": "triage", "finished_at": 1_700_000_092, "trained_tokens": 123_456}
    return make_job(x_orchard=progress, **(fields | changes))


def failed(code: str, message: str, param: str | None = None) -> dict[str, Any]:
    return make_job(status="failed", error={"code": code, "message": message, "param": param})


def step(number: int) -> dict[str, Any]:
    return make_event(number, f"Step {number}", type="metrics", data={"step": number, "train_loss": 3.0 / number})


def events(count: int, job: dict[str, Any]):
    """The events of a job of `count` steps: the newest hundred as a page, or all of them as a stream."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        if "stream" not in request.url.params:
            return httpx2.Response(200, json=page(*(step(number) for number in range(count, count - 100, -1))))
        sent = [make_event(0, "Created"), *(step(number) for number in range(1, count + 1))]
        text = "".join(f"data: {json.dumps(event)}\n\n" for event in sent)
        end = f'event: end\ndata: {{"status":"{job["status"]}"}}\n\n'
        return httpx2.Response(200, text=text + end, headers={"content-type": "text/event-stream"})

    return answer


@pytest.mark.parametrize(
    "command", [["watch", "ftjob-1"], ["submit", "--file", "file-1", "--model", "tiny", "--watch"]]
)
def test_watching_ends_with_what_a_person_wants_to_know(command):
    job = trained()
    api = FakeApi(**{f"GET {JOB}": job, f"GET {JOB}/events": events(300, job), "POST /v1/fine_tuning/jobs": job})
    result = orchard(api, *command)
    assert result.exit_code == 0, result.stderr
    told = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert told == [
        "job triage (ftjob-1)",
        "result succeeded",
        "training loss 3.0000 → 0.0100",
        "validation loss 2.5000 → 0.5123",
        "steps 300",
        "time 0:01:32 since submission",
        "trained tokens 123,456",
        "model ft:tiny:acme::ftjob-1",
        f"page {PAGE}",
        "next orchard download ftjob-1 triage-adapter",
    ]


def test_a_program_still_gets_the_whole_job():
    job = trained()
    api = FakeApi(**{f"GET {JOB}": job, f"GET {JOB}/events": events(300, job)})
    shown = json.loads(orchard(api, "watch", "ftjob-1", "-o", "json").stdout)
    assert shown["x_orchard"]["registry"]["version"] == "3"


def test_a_job_that_ended_is_summed_up_even_where_its_losses_cannot_be_read():
    api = FakeApi(**{f"GET {JOB}": trained(), f"GET {JOB}/events": [page(), httpx2.Response(500)]})
    result = orchard(api, "watch", "ftjob-1")
    assert result.exit_code == 0
    assert "training loss" not in result.stdout
    assert "orchard download" in result.stdout


def test_a_job_that_stopped_early_names_the_step_of_its_weights():
    job = Job.model_validate(trained(x_orchard={"step": 40, "total_steps": 40, "best_step": 25, "stopped_early": True}))
    assert summary(job, Losses())["steps"] == "40; stopped early; the model has the weights of step 25"


def test_a_failed_job_ends_with_the_reason_whose_fault_it_is_and_what_to_do():
    job = failed("invalid_training_file", "2 row(s) cannot be used: line 3, 7.", "training_file")
    api = FakeApi(**{f"GET {JOB}": job, f"GET {JOB}/events": events(100, job)})
    result = orchard(api, "watch", "ftjob-1")
    assert result.exit_code == 3
    told = dict(line.split("  ", 1) for line in result.stdout.splitlines())
    told = {label: value.strip() for label, value in told.items()}
    assert told["reason"] == "2 row(s) cannot be used: line 3, 7."
    assert told["code"] == "invalid_training_file, field training_file"
    assert told["whose fault"].startswith("yours")
    assert told["next"] == "correct the rows that `orchard issues ftjob-1` lists, then submit again"
    assert result.stderr.splitlines()[-1].endswith(f"Try: {told['next']}")


@pytest.mark.parametrize("code", [*ErrorCode, RegistryRefused.code, AdapterRefused.code])
def test_every_code_that_ends_a_job_has_a_verdict(code):
    assert code in ADVICE
    assert ADVICE[code].todo.format(job="ftjob-1")


@pytest.mark.parametrize(
    ("code", "party"),
    [
        ("non_finite_loss", Party.YOU),
        ("max_runtime_exceeded", Party.YOU),
        ("base_refused", Party.OPERATOR),
        ("out_of_memory", Party.OPERATOR),
        ("host_lost", Party.SERVICE),
        ("internal_error", Party.SERVICE),
    ],
)
def test_nobody_is_blamed_for_what_another_broke(code, party):
    assert advice_for(code).party is party


def test_a_code_of_a_newer_server_is_not_called_your_fault():
    assert advice_for("quantum_decoherence") is UNKNOWN
    assert UNKNOWN.party is not Party.YOU


def test_a_cancelled_job_blames_nobody_and_points_to_its_history():
    told = summary(Job.model_validate(make_job(status="cancelled")), Losses(3.0, 1.0))
    assert "whose fault" not in told
    assert told["next"] == "orchard logs ftjob-1"
    assert told["training loss"] == "3.0000 → 1.0000"
