import json
from pathlib import Path

import pytest
import yaml

import api.cli
from api.cli.errors import CliError
from api.cli.job_file import JobFile, TrainingSection, json_schema, request_body
from api.cli.job_yaml import read_job
from orchestrator.submission.request import JobRequest, Options
from workers.contract.spec import TrainingOptions

MINIMAL = "apiVersion: orchard/v1\nkind: FineTuneJob\nmodel: tiny\ntraining_file: train.jsonl\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "job.yaml"
    path.write_text(text)
    return path


def test_the_committed_schema_is_the_generated_one():
    committed = Path(api.cli.__file__).with_name("job.schema.json")
    assert json.loads(committed.read_text()) == json_schema()


def test_the_schema_accepts_a_full_job_and_refuses_a_typo():
    jsonschema = pytest.importorskip("jsonschema")
    job = yaml.safe_load(MINIMAL + "method: {rank: 4}\ntraining: {learning_rate: 0.001}\n")
    jsonschema.validate(job, json_schema())
    with pytest.raises(jsonschema.ValidationError, match="rnk"):
        jsonschema.validate(job | {"method": {"rnk": 4}}, json_schema())


def test_the_sections_of_the_job_file_are_those_of_the_request():
    ours, request = JobFile.model_fields, Options.model_fields
    for name in ("task", "method", "lane", "quantization", "data"):
        assert (ours[name].annotation, ours[name].metadata) == (request[name].annotation, request[name].metadata), name
    assert request["training"].annotation is TrainingOptions
    assert issubclass(TrainingSection, TrainingOptions)


def test_a_full_job_file_makes_a_request_that_the_server_takes(tmp_path):
    text = (
        MINIMAL + "name: triage\nseed: 3\nmetadata: {team: a}\nquantization: nf4\npriority: 2\n"
        "method: {type: lora, rank: 4, alpha: 8, dropout: 0.1, target_modules: [q_proj], rslora: true}\n"
        "data: {max_seq_len: 64, overlength: drop}\n"
        "training: {n_epochs: 2, batch_size: 4, micro_batch_size: 2, learning_rate: 0.001, lr_schedule: cosine}\n"
        "limits: {max_runtime_s: 60}\n"
    )
    request = JobRequest.model_validate(request_body(read_job(write(tmp_path, text), {}), "file-a", "file-b"))
    assert (request.wanted.n_epochs, request.x_orchard.method.rank, request.x_orchard.data.overlength) == (2, 4, "drop")
    assert (request.suffix, request.x_orchard.max_runtime_s, request.validation_file) == ("triage", 60, "file-b")


def test_a_job_becomes_the_create_request_with_only_what_was_given(tmp_path):
    text = (
        MINIMAL + "name: triage\nquantization: nf4\nmethod: {rank: 4}\ntraining: {n_epochs: 2, learning_rate: 0.001}\n"
    )
    body = request_body(read_job(write(tmp_path, text), {}), "file-a", None)
    assert body == {
        "model": "tiny",
        "training_file": "file-a",
        "suffix": "triage",
        "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
        "x_orchard": {"method": {"rank": 4}, "training": {"learning_rate": 0.001}, "quantization": "nf4"},
    }
    json.dumps(body)


def test_a_job_file_nested_without_end_is_a_wrong_file(tmp_path):
    with pytest.raises(CliError, match="nested too deeply"):
        read_job(write(tmp_path, "[" * 3_000), {})


def test_flags_win_over_the_job_file(tmp_path):
    path = write(tmp_path, MINIMAL + "method: {rank: 4, alpha: 8}\n")
    job = read_job(path, {"method.rank": 16, "name": "other"})
    assert (job.method.rank, job.method.alpha, job.name) == (16, 8, "other")


def test_a_job_can_come_from_flags_alone():
    job = read_job(None, {"model": "tiny", "training_file": "train.jsonl", "training.n_epochs": 2})
    assert isinstance(job, JobFile)
    assert job.training.n_epochs == 2


def test_every_wrong_field_is_named_with_its_line(tmp_path):
    path = write(tmp_path, MINIMAL + "method:\n  rank: 0\n  alhpa: 3\ntraining:\n  learning_rate: 7\n")
    with pytest.raises(CliError) as caught:
        read_job(path, {})
    message = caught.value.message
    assert "job.yaml:6: method.rank" in message
    assert "job.yaml:7: method.alhpa" in message
    assert "job.yaml:9: training.learning_rate" in message
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("text", ["- a\n- b\n", "a: [1\n", "", "\x00"])
def test_what_is_no_mapping_is_refused(tmp_path, text):
    with pytest.raises(CliError) as caught:
        read_job(write(tmp_path, text), {})
    assert caught.value.exit_code == 2


def test_a_job_file_cannot_make_python_objects(tmp_path):
    with pytest.raises(CliError):
        read_job(write(tmp_path, MINIMAL + "metadata: !!python/object/apply:os.getcwd []\n"), {})
