"""Files in every form, from their check at the upload to a trained job: the loss is that of the same rows as JSONL."""

import hashlib
import io
from pathlib import Path
from typing import Any

import pytest

from orchestrator.files.validate import check_file
from tests.builders.driving import drain, losses, outcome_of
from tests.builders.families import families
from tests.builders.file_forms import CONTAINERS, SHAPES, TOOL, as_jsonl
from tests.builders.specs import make_host_spec, make_job_spec, make_order
from workers.contract.base import BaseSpec
from workers.contract.errors import DataError
from workers.contract.reports import ExitClass, Report
from workers.contract.spec import DatasetRef, DataSpec, ExtraKeys
from workers.data.reading import read_rows
from workers.formats.reading import FileReading
from workers.host import TrainingHost

QUESTIONS = [{"question": f"after {n}?", "answer": f"it is {n + 1}."} for n in range(6)]


def uploaded(path: Path, content: bytes, wanted: str | None = None) -> DatasetRef:
    """The file as the service knows it after its upload."""
    findings = check_file(io.BytesIO(content), wanted)
    assert findings.issues == []
    assert findings.format is not None
    path.write_bytes(content)
    return DatasetRef(
        file_id=f"file-{path.name}",
        uri=path.as_uri(),
        sha256=hashlib.sha256(content).hexdigest(),
        rows=findings.rows,
        format=findings.format,
        shape=findings.shape,
        container=findings.container,
    )


def trained(folder: Path, base: BaseSpec, **files: DatasetRef) -> list[Report]:
    base = base.model_copy(
        update={"chat_template": families()["qwen3_instruct_2507"].stock}
    )  # it shows tools and calls
    host = TrainingHost(make_host_spec(folder, base))
    for name, data in files.items():
        spec = make_job_spec(folder, base, job_id=name, training=data, n_epochs=1, max_seq_len=2_048)
        host.attach(make_order(spec))
    return drain(host)


@pytest.mark.parametrize("name", [name for name in CONTAINERS if name != "jsonl"])
def test_a_job_learns_the_same_from_every_container(tmp_path: Path, tiny_base: BaseSpec, name: str) -> None:
    plain = uploaded(tmp_path / "plain", as_jsonl(QUESTIONS))
    other = uploaded(tmp_path / "other", CONTAINERS[name][0](QUESTIONS))
    reports = trained(tmp_path, tiny_base, plain=plain, other=other)
    assert outcome_of(reports, "other").exit_class is ExitClass.OK
    assert losses(reports, "other") == losses(reports, "plain")


@pytest.mark.parametrize("name", SHAPES)
def test_a_job_learns_the_same_from_every_shape_as_from_its_converted_rows(
    tmp_path: Path, tiny_base: BaseSpec, name: str
) -> None:
    content = as_jsonl([SHAPES[name][0]] * 4)
    as_sent = uploaded(tmp_path / "as_sent", content)
    rows = [each.row for each in FileReading(io.BytesIO(content)).rows()]
    converted = uploaded(
        tmp_path / "converted", "".join(row.model_dump_json(exclude_none=True) + "\n" for row in rows if row).encode()
    )
    reports = trained(tmp_path, tiny_base, as_sent=as_sent, converted=converted)
    assert outcome_of(reports, "as_sent").exit_class is ExitClass.OK, outcome_of(reports, "as_sent").message
    assert losses(reports, "as_sent") == losses(reports, "converted") != []


def test_the_format_that_an_upload_named_is_that_of_every_later_reading(tmp_path: Path) -> None:
    rows = [{"instruction": "i", "output": "o", "text": "t"}]
    for wanted, format in (("text", "text"), ("alpaca", "chat")):
        ref = uploaded(tmp_path / wanted, as_jsonl(rows), wanted)
        assert (ref.shape, ref.format) == (wanted, format)
        assert len(list(read_rows(ref))) == 1


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (as_jsonl([{"text": "a"}, {"text": "b", "source": "web"}]), "line 2"),
        (b"text,source\na,web\nb,web\n", "row 1, 2"),
    ],
)
def test_a_job_may_refuse_keys_that_mean_nothing(tmp_path: Path, content: bytes, place: str) -> None:
    ref = uploaded(tmp_path / "file", content)
    assert len(list(read_rows(ref, extra=DataSpec(training=ref).extra))) == 2
    with pytest.raises(DataError, match=place) as caught:
        list(read_rows(ref, extra=ExtraKeys.ERROR))
    assert {(issue.field, issue.code) for issue in caught.value.issues} == {("source", "extra_forbidden")}


def test_a_reference_from_before_shapes_reads_rows_as_its_format_has_them(tmp_path: Path) -> None:
    row: dict[str, Any] = {"messages": SHAPES["openai"][0]["messages"], "tools": [TOOL]}
    ref = uploaded(tmp_path / "file", as_jsonl([row]))
    stored = ref.model_dump(exclude={"shape", "container"})
    assert [read.row for read in read_rows(DatasetRef.model_validate(stored))] == [read.row for read in read_rows(ref)]
