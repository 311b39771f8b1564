"""What every task promises: it loads a base, makes batches of rows, has a loss to learn from, and exports."""

from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer

from tests.builders.specs import make_dataset, sum_rows
from workers.contract.base import BaseSpec
from workers.contract.rows import ROW_MODELS, DatasetFormat
from workers.contract.spec import TextOptions
from workers.contract.tasks import TASKS as SPECS
from workers.data.encode import EncodedRow
from workers.data.reading import read_rows
from workers.tasks import TASKS

every_task = pytest.mark.parametrize("name", list(SPECS))
ROWS = {
    DatasetFormat.CHAT: sum_rows(1)[0],
    DatasetFormat.PROMPT_COMPLETION: {"prompt": "two and two", "completion": " is four"},
    DatasetFormat.TEXT: {"text": "two and two is four"},
}


@every_task
def test_every_format_it_takes_becomes_rows_with_something_to_learn(tiny_base: BaseSpec, name: str):
    spec = SPECS[name].model_validate({})
    tokenizer = AutoTokenizer.from_pretrained(tiny_base.location)
    for format in spec.formats:
        row = ROW_MODELS[format].model_validate(ROWS[format])
        ids, mask, _ = TASKS.of(spec).encoder(tokenizer, None, TextOptions())(row)
        assert len(ids) == len(mask)
        assert any(mask)


@every_task
def test_its_loss_is_finite_and_reaches_what_is_trained(tmp_path: Path, tiny_base: BaseSpec, name: str):
    spec = SPECS[name].model_validate({})
    task, tokenizer = TASKS.of(spec), AutoTokenizer.from_pretrained(tiny_base.location)
    model = task.auto_class().from_pretrained(tiny_base.location).requires_grad_(False)
    model.get_input_embeddings().requires_grad_()
    read = read_rows(make_dataset(tmp_path / "rows.jsonl", sum_rows(3)))
    encode = task.encoder(tokenizer, None, TextOptions())
    rows = [EncodedRow.of(each.line, *encode(each.row)[:2]) for each in read]
    batch = task.collate(rows, tokenizer.pad_token_id)
    scores = task.loss(model).score(batch)
    assert scores.nll.shape == scores.correct.shape == (batch.supervised,)
    scores.nll.mean().backward()
    assert bool(torch.isfinite(scores.nll).all())
    assert float(model.get_input_embeddings().weight.grad.abs().sum()) > 0


@every_task
def test_each_scored_unit_has_the_weight_that_its_row_gives_it(tiny_base: BaseSpec, name: str):
    spec = SPECS[name].model_validate({})
    task = TASKS.of(spec)
    model = task.auto_class().from_pretrained(tiny_base.location)
    rows = [EncodedRow.of(1, [5, 6, 7, 8], [1, 0.5, 0, 0.25]), EncodedRow.of(2, [9, 10], [0, 1])]
    batch = task.collate(rows, 0)
    scores = task.loss(model).score(batch)
    assert scores.weights.tolist() == [0.5, 0.25, 1]
    assert scores.nll.shape == scores.correct.shape == (3,)
    assert (batch.supervised, batch.total_weight) == (3, 1.75)


@every_task
def test_it_names_its_loss_first_and_fits_some_base(tiny_base: BaseSpec, name: str):
    spec = SPECS[name].model_validate({})
    assert spec.metrics[0] == "loss"
    assert spec.unit
    assert spec.fits(tiny_base.shape) == (tiny_base.shape.kind == "decoder")
    assert not spec.fits(tiny_base.shape.model_copy(update={"kind": "encoder"}))


@every_task
def test_what_it_exports_loads_again(tmp_path: Path, tiny_base: BaseSpec, name: str):
    task, tokenizer = TASKS.of(SPECS[name].model_validate({})), AutoTokenizer.from_pretrained(tiny_base.location)
    template = task.export(tokenizer, tiny_base, tmp_path / "tokenizer")
    assert AutoTokenizer.from_pretrained(tmp_path / "tokenizer").chat_template == template
