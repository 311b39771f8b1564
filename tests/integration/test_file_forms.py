"""The unmodified `openai` client uploads files as people have them: recognised, asked about, given back as sent."""

from typing import Any

import openai
import pytest
from openai import OpenAI

from orchestrator.db.job_tables import JobRow
from orchestrator.submission.validate import check_files
from tests.builders.file_forms import CONTAINERS, PREFERENCES, SHAPES, as_csv, as_jsonl, as_parquet, zstd
from tests.builders.live_api import Api
from workers.contract.errors import ErrorCode
from workers.contract.spec import JobSpec

pytestmark = pytest.mark.slow
PAIRS = [{"question": f"after {n}?", "answer": f"it is {n + 1}."} for n in range(12)]
UNSURE = as_jsonl([{"instruction": "i", "output": "o", "text": "t"}])


def sent(client: OpenAI, content: bytes, name: str = "rows.bin", **more: Any) -> Any:
    return client.files.create(file=(name, content), purpose="fine-tune", **more)


def seen(file: Any) -> dict[str, Any]:
    return file.model_extra["x_orchard"]


def codes(file: Any) -> list[str]:
    return [issue["code"] for issue in seen(file)["issues"]]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_container_and_shape_is_recognised_and_given_back_as_it_was_sent(client: OpenAI) -> None:
    for name, (write, container) in CONTAINERS.items():
        content = write(PAIRS)
        file = sent(client, content)
        assert (file.status, file.status_details) == ("processed", None), name
        assert (seen(file)["container"], seen(file)["shape"], seen(file)["format"]) == (
            *(container, "question_answer", "chat"),
        )
        assert (seen(file)["rows"], client.files.content(file.id).read()) == (12, content)
    for row, shape, format in (SHAPES | PREFERENCES).values():
        found = seen(sent(client, as_jsonl([row])))
        assert (found["shape"], found["format"], found["rows"]) == (shape, format, 1)


def test_notes_say_what_was_recognised_and_a_list_of_files_leaves_them_out(client: OpenAI) -> None:
    file = sent(client, as_parquet([{"query": "q", "response": "r", "id": 7}]))
    assert [note["code"] for note in seen(client.files.retrieve(file.id))["notes"]] == [
        *("container", "extra_key", "converted"),
    ]
    (listed,) = client.files.list().data
    assert (seen(listed)["container"], "notes" in seen(listed)) == ("parquet", False)


def test_what_fits_two_formats_is_asked_for_and_an_answer_settles_it(client: OpenAI) -> None:
    file = sent(client, UNSURE)
    assert (file.status, codes(file)) == ("error", ["ambiguous_format"])
    assert file.status_details is not None
    assert "the keys fit alpaca and text; say which it is" in file.status_details
    for shape, format in (("alpaca", "chat"), ("text", "text")):
        found = seen(sent(client, UNSURE, extra_body={"format": shape}))
        assert (found["shape"], found["format"], found["rows"]) == (shape, format, 1)
    with pytest.raises(openai.BadRequestError, match="format") as caught:
        sent(client, UNSURE, extra_body={"format": "xml"})
    assert caught.value.param == "format"


def test_an_upload_in_parts_may_name_its_format_too(client: OpenAI) -> None:
    upload = client.uploads.create(
        bytes=len(UNSURE), filename="r", mime_type="text/plain", purpose="fine-tune", extra_body={"format": "text"}
    )
    parts = [client.uploads.parts.create(upload.id, data=part) for part in (UNSURE[:9], UNSURE[9:])]
    done = client.uploads.complete(upload.id, part_ids=[part.id for part in parts])
    assert done.file is not None
    assert (done.file.status, seen(done.file)["shape"]) == ("processed", "text")


def test_a_bad_row_of_a_table_is_named_by_its_number_and_field(client: OpenAI) -> None:
    file = sent(client, zstd(as_csv([*PAIRS, {"question": "q", "answer": ""}])))
    assert file.status_details == ("Invalid file format. Row 13, answer: String should have at least 1 character")
    (issue,) = client.get(f"/files/{file.id}/x/issues", cast_to=dict[str, Any])["data"]
    assert (issue["line"], issue["field"], issue["code"]) == (13, "answer", "string_too_short")


def test_a_job_takes_a_table_and_knows_how_to_read_it_again(client: OpenAI, served: Api) -> None:
    file = sent(client, as_csv(PAIRS))
    job = client.fine_tuning.jobs.create(model="tiny", training_file=file.id)
    training = spec_of(served, job.id).data.training
    assert (training.shape, training.container, training.format) == ("question_answer", "csv", "chat")


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
@pytest.mark.parametrize(("name", "param"), [("trl-preference", "training_file"), ("kto", "validation_file")])
def test_rows_that_no_task_learns_from_are_refused_with_their_format(client: OpenAI, name: str, param: str) -> None:
    row, _, format = PREFERENCES[name]
    files = {"training_file": sent(client, as_jsonl(PAIRS)).id} | {param: sent(client, as_jsonl([row])).id}
    with pytest.raises(openai.BadRequestError, match=f"does not learn from rows of format '{format}'") as caught:
        client.fine_tuning.jobs.create(model="tiny", **files)
    assert (caught.value.code, caught.value.param) == ("format_not_taken", param)
    assert "No task of this service learns from such rows yet." in caught.value.message


def test_rows_shared_by_files_of_different_forms_are_found_and_headers_are_no_rows(client: OpenAI, served: Api) -> None:
    def decided(training: bytes, validation: bytes) -> Any:
        files = {"training_file": sent(client, training).id, "validation_file": sent(client, validation).id}
        return check_files(spec_of(served, client.fine_tuning.jobs.create(model="tiny", **files).id))

    assert decided(as_csv(PAIRS[:10]), as_csv(PAIRS[10:])) is None
    refused = decided(as_csv(PAIRS[:11]), as_parquet(PAIRS[10:]))
    assert refused.changes["error_code"] == ErrorCode.INVALID_VALIDATION_FILE
    assert "1 row(s) are also in the training file: rows 1." in refused.changes["error_message"]


def spec_of(served: Api, job_id: str) -> JobSpec:
    with served.services.db.read() as session:
        row = session.query(JobRow).filter_by(id=job_id).one()
        return JobSpec.model_validate(row.spec)
