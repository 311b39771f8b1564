"""The encoder: a process that turns files into stored rows, and one that watches it."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from safetensors import safe_open

from tests.builders.encoded import encode_to_store, encode_training
from tests.builders.specs import chat_row, make_dataset, make_job_spec, sum_rows
from tests.builders.tiny_base import CHATML, make_tiny_base, make_tokenizer
from tests.builders.waiting import wait_until
from workers.contract.base import BaseSpec
from workers.contract.encoded import MANIFEST_FILE, ROWS_FILE, EncodedRef
from workers.contract.encoding import MAX_ORDERS, EncodeLimits, EncodeOrder, EncoderBusy, EncodeResult
from workers.contract.errors import ErrorCode
from workers.contract.preview import DIGESTS_FILE, PREVIEW_FILE
from workers.contract.spec import DatasetRef, DataSpec
from workers.contract.tasks import CausalLm
from workers.data.batches import collate
from workers.data.stored import fetch
from workers.data.text_encoder import TextEncoder
from workers.encoding.board import Position
from workers.encoding.encoder import WatchedEncoder, sign_of_life

SLOW = "{% if 'slow' in messages[0]['content'] %}" + (
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}{% endif %}"
)


@pytest.fixture(scope="module")
def shared() -> Iterator[WatchedEncoder]:
    encoder = WatchedEncoder()
    yield encoder
    encoder.close()


@pytest.fixture(scope="module")
def slow_base(tmp_path_factory: pytest.TempPathFactory) -> BaseSpec:
    """Its template takes for ever on rows that say so."""
    return make_tiny_base(tmp_path_factory.mktemp("slow"), chat_template=SLOW + CHATML)


def order(folder: Path, base: BaseSpec, data: DatasetRef, key: str, attempt: int = 1, **limits: Any) -> EncodeOrder:
    return EncodeOrder(
        key=key,
        attempt=attempt,
        base=base,
        task=CausalLm(),
        data=DataSpec(training=data, max_seq_len=128),
        uri=(folder / "encoded" / key).as_uri(),
        cache_dir=str(folder / "cache"),
        limits=EncodeLimits(**limits),
    )


def ended(encoder: WatchedEncoder, key: str, attempt: int = 1) -> EncodeResult:
    def found() -> EncodeResult | None:
        results = encoder.poll().results
        return next((result for result in results if (result.key, result.attempt) == (key, attempt)), None)

    result = wait_until(found, f"the end of {key}", 60, pause_s=0.005)
    assert isinstance(result, EncodeResult)
    return result


def at_work(encoder: WatchedEncoder, rows: int) -> None:
    wait_until(lambda: encoder.poll().orders and encoder.poll().rows_read == rows, f"row {rows}", 60, pause_s=0.005)


def cpu_s(encoder: WatchedEncoder) -> float:
    return psutil.Process(encoder.poll().pid).cpu_times().user


def pass_time(now: list[float], seconds: float) -> bool:
    now[0] += seconds
    return True


def encoded(encoder: WatchedEncoder, given: EncodeOrder) -> EncodedRef:
    encoder.encode(given)
    result = ended(encoder, given.key, given.attempt)
    assert result.encoded is not None, result.message
    return result.encoded


def test_stored_rows_are_those_that_the_file_and_the_options_give(
    tmp_path: Path, tiny_base: BaseSpec, shared: WatchedEncoder
) -> None:
    data = make_dataset(tmp_path / "rows.jsonl", sum_rows(20))
    ref = encoded(shared, order(tmp_path, tiny_base, data, "stored"))
    expected = encode_training(TextEncoder(make_tokenizer(), None), DataSpec(training=data, max_seq_len=128))
    stored = fetch(ref)
    assert list(stored.rows) == list(expected.rows)
    assert (ref.rows, ref.tokens) == (20, sum(len(row.input_ids) for row in expected.rows))
    assert ref.trained_tokens == expected.supervised_tokens
    ours, theirs = collate(stored.rows[3:6], 0), collate(expected.rows[3:6], 0)
    assert torch.equal(ours.input_ids, theirs.input_ids)
    assert ours.lines == (4, 5, 6)


def test_the_file_of_rows_is_one_that_safetensors_reads(
    tmp_path: Path, tiny_base: BaseSpec, shared: WatchedEncoder
) -> None:
    ref = encoded(shared, order(tmp_path, tiny_base, make_dataset(tmp_path / "rows.jsonl"), "library"))
    with safe_open(tmp_path / "encoded" / "library" / ROWS_FILE, "pt") as file:
        assert {name: file.get_tensor(name).dtype for name in file.keys()} == {  # noqa: SIM118
            "offsets": torch.int64,
            "lines": torch.int32,
            "input_ids": torch.int32,
            "loss_weights": torch.float32,
        }
        assert file.get_tensor("lines").tolist() == list(range(1, 13))
        assert file.get_tensor("offsets")[-1] == len(file.get_tensor("input_ids")) == ref.tokens


def test_encoding_twice_stores_the_same_bytes(tmp_path: Path, tiny_base: BaseSpec, shared: WatchedEncoder) -> None:
    data = make_dataset(tmp_path / "rows.jsonl")
    folder, stored = tmp_path / "encoded" / "twice", []
    for attempt in (1, 2):
        encoded(shared, order(tmp_path, tiny_base, data, "twice", attempt))
        stored.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert stored[0] == stored[1]
    assert stored[0].keys() == {MANIFEST_FILE, ROWS_FILE, PREVIEW_FILE, DIGESTS_FILE}
    assert [path.name for path in folder.parent.iterdir()] == ["twice"]


def test_fetched_rows_live_on_when_storage_no_longer_has_them(tmp_path: Path, tiny_base: BaseSpec) -> None:
    ref = encode_to_store(make_job_spec(tmp_path, tiny_base)).data.training.encoded
    assert ref is not None
    rows = fetch(ref).rows
    (Path(ref.uri.removeprefix("file://")) / ROWS_FILE).unlink()
    assert [row.line for row in rows] == list(range(1, 13))
    assert rows[-1] == rows[11]
    with pytest.raises(IndexError):
        rows[12]


def test_bad_rows_are_told_with_their_lines_and_the_next_order_goes_on(
    tmp_path: Path, tiny_base: BaseSpec, shared: WatchedEncoder
) -> None:
    rows = sum_rows(4)
    rows[1] = chat_row("why?", "x" * 200)
    shared.encode(order(tmp_path, tiny_base, make_dataset(tmp_path / "bad.jsonl", rows), "bad"))
    shared.encode(order(tmp_path, tiny_base, make_dataset(tmp_path / "good.jsonl"), "good"))
    bad = ended(shared, "bad")
    assert (bad.error_code, bad.retryable, bad.encoded) == (ErrorCode.INVALID_TRAINING_FILE, False, None)
    assert [(issue.line, issue.code) for issue in bad.issues] == [(2, "too_long")]
    assert "file file-bad: 1 row(s) cannot be used: line 2" in str(bad.message)
    assert ended(shared, "good").encoded is not None
    stored = {path.name for path in (tmp_path / "encoded" / "bad").iterdir()}
    assert stored == {PREVIEW_FILE, DIGESTS_FILE}, "what can be looked at, and nothing to train on"


def test_a_row_that_takes_too_long_is_blamed_with_its_line_and_the_next_file_is_encoded(
    tmp_path: Path, slow_base: BaseSpec, shared: WatchedEncoder
) -> None:
    rows = [*sum_rows(2), chat_row("slow", "a"), *sum_rows(2)]
    shared.encode(order(tmp_path, slow_base, make_dataset(tmp_path / "slow.jsonl", rows), "slow", row_s=0.3))
    shared.encode(order(tmp_path, slow_base, make_dataset(tmp_path / "quick.jsonl"), "quick"))
    slow = ended(shared, "slow")
    assert (slow.error_code, slow.retryable) == (ErrorCode.INVALID_TRAINING_FILE, False)
    assert [(issue.line, issue.code) for issue in slow.issues] == [(3, "row_too_slow")]
    assert "takes longer than 0.3 s" in str(slow.message)
    assert ended(shared, "quick").encoded is not None


def test_a_file_that_takes_too_long_in_all_is_refused(
    tmp_path: Path, tiny_base: BaseSpec, shared: WatchedEncoder
) -> None:
    data = make_dataset(tmp_path / "many.jsonl", sum_rows(20_000))
    shared.encode(order(tmp_path, tiny_base, data, "many", file_s=0.1))
    assert [issue.code for issue in ended(shared, "many").issues] == ["file_too_slow"]


def test_an_encoder_says_how_far_it_is_and_stops_in_the_middle_of_a_row(
    tmp_path: Path, slow_base: BaseSpec, shared: WatchedEncoder
) -> None:
    rows = [*sum_rows(5), chat_row("slow", "a")]
    shared.encode(order(tmp_path, slow_base, make_dataset(tmp_path / "slow.jsonl", rows), "stopped"))
    at_work(shared, 5)
    pid = shared.poll().pid
    shared.abandon("stopped")
    wait_until(lambda: not shared.poll().orders, "the order is dropped", 60, pause_s=0.005)
    assert "stopped" not in {result.key for result in shared.poll().results}
    assert not Path(f"/proc/{pid}").exists()
    shared.encode(order(tmp_path, slow_base, make_dataset(tmp_path / "quick.jsonl"), "stopped", attempt=2))
    assert ended(shared, "stopped", attempt=2).encoded is not None


def test_a_process_that_dies_is_the_machines_failure_and_is_started_anew(
    tmp_path: Path, slow_base: BaseSpec, shared: WatchedEncoder
) -> None:
    rows = [*sum_rows(5), chat_row("slow", "a")]
    shared.encode(order(tmp_path, slow_base, make_dataset(tmp_path / "slow.jsonl", rows), "died"))
    at_work(shared, 5)
    os.kill(shared.poll().pid, signal.SIGKILL)
    died = ended(shared, "died")
    assert (died.error_code, died.retryable, died.issues) == (ErrorCode.ENCODING_FAILED, True, ())
    assert "code -9 at line 6" in str(died.message)
    assert encoded(shared, order(tmp_path, slow_base, make_dataset(tmp_path / "quick.jsonl"), "quick")).rows == 12


def test_a_process_that_stands_still_is_the_machines_failure(tmp_path: Path, slow_base: BaseSpec) -> None:
    now = [0.0]
    encoder = WatchedEncoder(clock=lambda: now[0])
    rows = [*sum_rows(5), chat_row("slow", "a")]
    encoder.encode(order(tmp_path, slow_base, make_dataset(tmp_path / "slow.jsonl", rows), "still", row_s=1e6))
    at_work(encoder, 5)
    used = cpu_s(encoder)
    wait_until(lambda: cpu_s(encoder) > used + 0.1, "the work on row 6", 60, pause_s=0.005)
    os.kill(encoder.poll().pid, signal.SIGSTOP)
    wait_until(lambda: pass_time(now, EncodeLimits().still_s) and encoder.poll().results, "its end", 60, pause_s=0.1)
    still = ended(encoder, "still")
    assert (still.error_code, still.retryable) == (ErrorCode.ENCODING_FAILED, True)
    assert "no progress for 600 s at line 6" in str(still.message)
    encoder.close()


@pytest.mark.parametrize(
    ("harm", "code", "retryable"),
    [
        ("file", ErrorCode.STORAGE_UNAVAILABLE, False),
        ("target", ErrorCode.STORAGE_UNAVAILABLE, True),
        ("base", ErrorCode.BASE_UNUSABLE, False),
    ],
)
def test_what_is_no_fault_of_the_rows_has_its_own_code(
    tmp_path: Path, tiny_base: BaseSpec, shared: WatchedEncoder, harm: str, code: ErrorCode, retryable: bool
) -> None:
    given = order(tmp_path, tiny_base, make_dataset(tmp_path / "rows.jsonl"), harm)
    match harm:
        case "file":
            (tmp_path / "rows.jsonl").unlink()
        case "target":
            (tmp_path / "encoded").write_text("in the way")
        case _:
            given = given.model_copy(update={"base": tiny_base.model_copy(update={"source": f"file:{tmp_path}/no"})})
    shared.encode(given)
    result = ended(shared, harm)
    assert (result.error_code, result.retryable, result.issues) == (code, retryable, ())


def test_an_order_may_be_repeated_and_a_newer_attempt_takes_it_over(
    tmp_path: Path, slow_base: BaseSpec, shared: WatchedEncoder
) -> None:
    data = make_dataset(tmp_path / "slow.jsonl", [chat_row("slow", "a")])
    shared.encode(order(tmp_path, slow_base, data, "repeated", row_s=1.0))
    shared.encode(order(tmp_path, slow_base, data, "repeated", row_s=1.0))
    shared.encode(order(tmp_path, slow_base, data, "repeated", attempt=2, row_s=1.0))
    shared.encode(order(tmp_path, slow_base, data, "other", row_s=1.0))
    assert shared.poll().orders == (("repeated", 2), ("other", 1))
    with pytest.raises(EncoderBusy, match=str(MAX_ORDERS)):
        shared.encode(order(tmp_path, slow_base, data, "third"))
    assert [issue.code for issue in ended(shared, "repeated", attempt=2).issues] == ["row_too_slow"]


def test_a_tokenizer_whose_files_change_is_loaded_again(tmp_path: Path, shared: WatchedEncoder) -> None:
    base = make_tiny_base(tmp_path / "base")
    data = make_dataset(tmp_path / "rows.jsonl")
    before = encoded(shared, order(tmp_path, base, data, "before"))
    make_tokenizer(CHATML.replace("<|im_start|>", "")).save_pretrained(tmp_path / "base")
    after = encoded(shared, order(tmp_path, base, data, "after"))
    assert after.tokens == before.tokens - 2 * 12


def test_a_process_that_stores_its_rows_for_long_gets_on_as_long_as_it_computes(
    tmp_path: Path, tiny_base: BaseSpec
) -> None:
    given = order(tmp_path, tiny_base, make_dataset(tmp_path / "rows.jsonl", sum_rows(12)), "stores")
    for at, gets_on in ((Position(0, 12, 3.0), True), (Position(12, 11, 3.0), False), (Position(0, 11, 3.0), False)):
        assert (sign_of_life(given, at, 5.0) != sign_of_life(given, at, 5.5)) is gets_on
        assert sign_of_life(given, at, 5.5) == sign_of_life(given, at, 5.5)
    assert sign_of_life(given, Position(1, 0, 3.0), 5.0) != sign_of_life(given, Position(2, 1, 3.0), 5.0)


class AskedAgain(WatchedEncoder):
    """Its first order is abandoned, and wanted again just as its process was ended."""

    asked = False

    def _carry_out(self, order: EncodeOrder) -> EncodeResult | None:
        if self.asked:
            return EncodeResult(key=order.key, attempt=order.attempt, message="begun anew")
        self.asked = True
        self.abandon(order.key)
        self.encode(order.model_copy(update={"attempt": order.attempt + 1}))
        return None


def test_an_order_wanted_again_while_its_process_ends_begins_anew(tmp_path: Path, tiny_base: BaseSpec) -> None:
    encoder = AskedAgain()
    try:
        encoder.encode(order(tmp_path, tiny_base, make_dataset(tmp_path / "rows.jsonl"), "again"))
        assert ended(encoder, "again", attempt=2).message == "begun anew"
        assert encoder.poll().orders == ()
    finally:
        encoder.close()
