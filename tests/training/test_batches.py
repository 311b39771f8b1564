"""Tokens and their weights on the way from a file to a batch."""

from array import array
from pathlib import Path

import pytest

from tests.builders.encoded import encode_training
from tests.builders.specs import make_dataset, sum_rows
from workers.contract.errors import DataError
from workers.contract.rows import Row
from workers.contract.spec import DataSpec
from workers.data.batches import collate
from workers.data.encode import EncodedRow
from workers.data.tokens import Tokens


def test_a_batch_keeps_each_weight_and_their_sum_but_counts_tokens_whole() -> None:
    rows = [EncodedRow.of(1, [5, 6, 7, 8], [1, 0.25, 0, 1]), EncodedRow.of(2, [8, 9], [0.5, 0.5])]
    batch = collate(rows, pad_id=0)
    assert batch.loss_weights.tolist() == [[0, 0.25, 0, 1], [0, 0.5, 0, 0]]
    assert (batch.supervised, batch.total_weight) == (3, 1.75)


def test_a_row_may_be_a_slice_of_a_read_only_file(recwarn: pytest.WarningsRecorder) -> None:
    ids, weights = array("i", [9, 5, 6, 7]).tobytes(), array("f", [0, 1, 0.5, 0]).tobytes()
    row = EncodedRow(3, memoryview(ids).cast("i")[1:], memoryview(weights).cast("f")[1:])
    batch = collate([row], pad_id=0)
    assert row.supervised == 1
    assert (batch.input_ids.tolist(), batch.loss_weights.tolist()) == ([[5, 6, 7]], [[0, 0.5, 0]])
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("weights", [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
def test_a_row_whose_predicted_tokens_all_weigh_nothing_is_refused(tmp_path: Path, weights: list[float]) -> None:
    def encode(row: Row) -> Tokens:
        return Tokens([5, 6, 7], weights)

    with pytest.raises(DataError) as caught:
        encode_training(encode, DataSpec(training=make_dataset(tmp_path / "rows.jsonl", sum_rows(2))))
    assert [(issue.line, issue.code) for issue in caught.value.issues] == [
        (1, "no_trainable_tokens"),
        (2, "no_trainable_tokens"),
    ]


def test_a_row_with_a_fraction_of_a_token_to_learn_is_kept(tmp_path: Path) -> None:
    def encode(row: Row) -> Tokens:
        return Tokens([5, 6, 7], [1.0, 0.0, 0.01])

    data = encode_training(encode, DataSpec(training=make_dataset(tmp_path / "rows.jsonl", sum_rows(2))))
    assert (len(data.rows), data.supervised_tokens) == (2, 2)
