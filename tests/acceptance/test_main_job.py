"""The main job over the real stack: HTTP in, Ray in the middle, MLflow at the end."""

from pathlib import Path

import mlflow
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.builders.live_stack import LiveStack, details, messages, submit, upload, wait_for_end
from tests.builders.specs import sum_rows

pytestmark = pytest.mark.slow


def test_six_jobs_of_three_tenants_train_on_one_load_of_one_base(stack: LiveStack):
    clients = [stack.client(slug) for slug in ("ada", "bob", "cyn")]
    files = [(upload(c), upload(c, sum_rows(4, start=40), "valid.jsonl")) for c in clients]
    jobs = [
        (client, submit(client, training, validation_file=validation, rank=rank, quantization="nf4"))
        for client, (training, validation) in zip(clients, files, strict=True)
        for rank in (2, 8)
    ]
    ended = [wait_for_end(client, job.id) for client, job in jobs]
    assert [(job.status, job.error) for job in ended] == [("succeeded", None)] * 6
    assert all(details(job)["eval_loss_after"] < details(job)["eval_loss_before"] for job in ended)
    holders = [host for host in stack.hosts() if host["quantization"] == "nf4"]
    assert [host["base_loads"] for host in holders] == [1]
    assert {details(job)["host"] for job in ended} == {holders[0]["id"]}


def test_a_job_on_a_warm_host_takes_its_first_step_without_a_second_load(stack: LiveStack):
    client = stack.client("warm")
    training = upload(client)
    first = wait_for_end(client, submit(client, training, quantization="nf4").id)
    second = wait_for_end(client, submit(client, training, quantization="nf4").id)
    assert details(second)["host"] == details(first)["host"]
    assert "Placed on a warm host (attempt 1)" in messages(client, second.id)
    assert {host["base_loads"] for host in stack.hosts() if host["state"] == "ready"} == {1}


def test_an_adapter_found_in_mlflow_loads_with_mlflow_and_with_peft(
    stack: LiveStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    client = stack.client("dora")
    job = wait_for_end(client, submit(client, upload(client), suffix="counter", n_epochs=4, quantization="none").id)
    registry = details(job)["registry"]
    monkeypatch.setenv("MLFLOW_WORKSPACE", "dora")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", stack.stack.mlflow_url)
    uri = f"models:/{registry['name']}/{registry['version']}"

    pipe = mlflow.transformers.load_model(uri, base_model_path=str(stack.base_folder), return_type="components")
    folder = mlflow.artifacts.download_artifacts(uri, dst_path=str(tmp_path))
    base = AutoModelForCausalLM.from_pretrained(stack.base_folder, dtype=torch.float32)
    tokens = AutoTokenizer.from_pretrained(stack.base_folder)("after 3?", return_tensors="pt").input_ids
    with torch.no_grad():
        plain = base(tokens).logits
        by_peft = PeftModel.from_pretrained(base, f"{folder}/peft")(tokens).logits
        by_mlflow = pipe["model"].to(torch.float32)(tokens).logits

    assert registry["name"].startswith("counter")
    assert torch.allclose(by_peft, by_mlflow, atol=1e-5)
    assert (by_peft - plain).abs().max() > 1e-3
    assert (
        mlflow.MlflowClient().get_model_version_by_alias(registry["name"], "candidate").version == registry["version"]
    )


def test_a_row_longer_than_max_seq_len_fails_the_job_and_every_such_line_is_named(stack: LiveStack):
    client = stack.client("eve")
    rows = sum_rows(12)
    for line in (3, 7):
        rows[line - 1]["messages"][0]["content"] = "word " * 100
    job = wait_for_end(client, submit(client, upload(client, rows), quantization="nf4").id)
    assert job.status == "failed"
    assert job.error.code == "invalid_training_file"
    assert job.error.param == "training_file"
    assert "128" in job.error.message
    told = messages(client, job.id)
    assert any(message.startswith("Line 3:") for message in told)
    assert any(message.startswith("Line 7:") for message in told)


def test_the_same_rows_pass_when_truncation_is_asked_for_and_the_count_is_told(stack: LiveStack):
    client = stack.client("fay")
    rows = sum_rows(12)
    rows[2]["messages"][1]["content"] = "word " * 100
    job = wait_for_end(client, submit(client, upload(client, rows), quantization="nf4", overlength="truncate").id)
    assert job.status == "succeeded"
    assert "1 row(s) were truncated to max_seq_len" in messages(client, job.id)


def test_a_running_job_is_cancelled_and_its_neighbours_finish(stack: LiveStack):
    client = stack.client("gus")
    training = upload(client)
    long = submit(client, training, n_epochs=50, quantization="nf4")
    short = submit(client, training, quantization="nf4")
    wait_for_step(client, long.id)
    client.fine_tuning.jobs.cancel(long.id)
    assert wait_for_end(client, long.id).status == "cancelled"
    assert wait_for_end(client, short.id).status == "succeeded"


def wait_for_step(client, job_id: str) -> None:
    from tests.builders.waiting import wait_until

    wait_until(lambda: details(client.fine_tuning.jobs.retrieve(job_id))["step"] >= 1, "a first step", 60)
