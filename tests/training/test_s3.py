"""The same seat with its files on S3."""

from pathlib import Path

import fsspec

from tests.builders.driving import as_ref, drain, losses, of_job, outcome_of
from tests.builders.specs import make_dataset, make_host_spec, make_job_spec, make_order
from workers.contract.base import BaseSpec
from workers.contract.reports import CheckpointManifest, CheckpointRejected, ExitClass, Prepared
from workers.host import TrainingHost
from workers.storage import child, read_bytes


def test_a_seat_reads_saves_resumes_and_publishes_on_s3(tmp_path: Path, tiny_base: BaseSpec, s3_bucket: str) -> None:
    local = make_dataset(tmp_path / "rows.jsonl")
    uri = f"{s3_bucket}/files/rows.jsonl"
    fsspec.filesystem("s3").put_file(str(tmp_path / "rows.jsonl"), uri)
    spec = make_job_spec(tmp_path, tiny_base, training=local.model_copy(update={"uri": uri}))
    spec = spec.model_copy(update={"output_uri": f"{s3_bucket}/jobs/j1"})
    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    host.attach(make_order(spec))
    first = drain(host)
    outcome = outcome_of(first, spec.job_id)
    assert outcome.exit_class is ExitClass.OK, outcome.message
    assert read_bytes(child(outcome.adapter.uri, "peft", "adapter_config.json"))
    newest, older = [as_ref(saved) for saved in reversed(of_job(first, CheckpointManifest, spec.job_id))]
    fsspec.filesystem("s3").rm(f"{newest.uri}/adapter.safetensors")
    host = TrainingHost(make_host_spec(tmp_path, tiny_base))
    host.attach(make_order(spec, attempt=2, resume_from=(newest, older)))
    second = drain(host)
    assert [rejected.step for rejected in of_job(second, CheckpointRejected, spec.job_id)] == [6]
    assert of_job(second, Prepared, spec.job_id)[0].resumed_from_step == 3
    assert losses(second, spec.job_id) == losses(first, spec.job_id)[3:]
