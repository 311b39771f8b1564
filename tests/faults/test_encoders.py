"""Encoders that die at any place: nothing partial is ever offered, and the next try stores the same bytes."""

from pathlib import Path

import pytest

from tests.builders.specs import make_dataset, make_job_spec
from tests.builders.tiny_base import make_tiny_base
from tests.builders.waiting import wait_until
from workers.contract.encoding import EncodeOrder, EncodeResult
from workers.contract.errors import ErrorCode
from workers.contract.spec import DataSpec
from workers.data.stored import fetch
from workers.encoding.encoder import WatchedEncoder

pytestmark = [pytest.mark.slow, pytest.mark.live]
PLACES = ("rows.fetched", "encoding.written", "storage.file", "storage.before_last", "encoding.stored")


@pytest.mark.parametrize("place", PLACES)
def test_f38_an_encoder_killed_anywhere_leaves_nothing_partial_and_the_next_try_completes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
):
    (tmp_path / "armed").mkdir()
    (tmp_path / "armed" / place).write_text("kill9")
    monkeypatch.setenv("ORCHARD_FAIL", f"@{tmp_path / 'armed'}")
    monkeypatch.setenv("ORCHARD_FAIL_LOG", str(tmp_path / "fired"))
    spec = make_job_spec(tmp_path, make_tiny_base(tmp_path / "base"), training=make_dataset(tmp_path / "rows.jsonl"))
    folder, encoder = tmp_path / "encoded", WatchedEncoder()

    def tried(attempt: int) -> EncodeResult:
        data = DataSpec(training=spec.data.training)
        order = EncodeOrder(
            key="k",
            attempt=attempt,
            base=spec.base,
            task=spec.task,
            data=data,
            uri=folder.as_uri(),
            cache_dir=str(tmp_path / "cache"),
        )
        encoder.encode(order)
        results = lambda: [result for result in encoder.poll().results if result.attempt == attempt]  # noqa: E731
        wait_until(results, f"attempt {attempt}", 60, pause_s=0.005)
        return results()[0]

    died = tried(1)
    assert (tmp_path / "fired").read_text().startswith(place)
    assert (died.error_code, died.retryable, died.issues) == (ErrorCode.ENCODING_FAILED, True, ())
    assert place == "encoding.stored" or not folder.exists()
    done = tried(2)
    assert done.encoded is not None
    assert len(fetch(done.encoded).rows) == 12
    encoder.close()
