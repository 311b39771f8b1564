"""A preview on a terminal."""

from pathlib import Path
from xml.etree import ElementTree

import pytest
from rich.console import Console

from api.cli.preview_page import page, save
from workers.contract.preview import FilePreview, FileSummary, Lengths, PreviewRow, PreviewView, TokenRun
from workers.contract.rows import RowIssue

ROW = PreviewRow(
    line=1,
    tokens=40,
    trained_tokens=3,
    runs=(
        TokenRun(text="<user>\nhi \x1b[31m", ids=(1, 2), weight=0),
        TokenRun(text="yes", ids=(3,), weight=1),
        TokenRun(text=" no\n", ids=(4, 5), weight=0.5),
    ),
    shown_tokens=5,
    truncated_to=30,
    dropped=("messages.0.name",),
)
SUMMARY = FileSummary(
    rows=1200,
    tokens=48_000,
    trained_tokens=3_600,
    lengths=Lengths(p50=40, p95=60, max=90),
    duplicates=2,
    truncated=0,
    too_long=0,
    nothing_to_learn=1,
)
ISSUE = RowIssue(line=7, field="messages.1", code="dropped_by_template", message="the call\x07 vanishes")
TRAINING = FilePreview(file_id="file-1", rows=(ROW,), summary=SUMMARY, issue_count=3, issues=(ISSUE,))
VIEW = PreviewView(status="done", model="tiny", rows_read=1200, training=TRAINING, validation=None, shared_rows=None)


def shown(*, color: bool, view: PreviewView = VIEW) -> str:
    console = Console(width=500, force_terminal=color, color_system="standard" if color else None)
    with console.capture() as captured:
        for paragraph in page(view, color=color):
            console.print(paragraph, soft_wrap=True)
    return captured.get()


def test_without_color_brackets_hold_what_is_trained_and_weights_are_told() -> None:
    text = shown(color=False)
    assert "<user>↵\nhi \\x1b[31m⟦yes⟧⟦0.5:  no↵\n⟧" in text
    assert "\x1b" not in text


def test_color_marks_what_is_trained_and_a_rows_own_escapes_do_nothing() -> None:
    text = shown(color=True)
    assert "\x1b[30;42myes\x1b[0m" in text
    assert "\x1b[31m" not in text.replace("\x1b[31m  line 7", "").replace("\x1b[31m  and", "")
    assert "⟦" not in text


def test_facts_of_a_row_and_totals_of_the_file_are_said_in_words() -> None:
    text = shown(color=False)
    assert (
        "training line 1: 40 tokens, 3 trained; truncated to 30; the first 5 shown; "
        "the chat template leaves out messages.0.name"
    ) in text
    assert (
        "training file file-1: 1,200 rows, 48,000 tokens, 3,600 trained; tokens a row: p50 40, p95 60, max 90; "
        "2 duplicates; 1 with nothing to learn"
    ) in text
    assert "line 7, messages.1: the call\\x07 vanishes" in text
    assert "and 2 more problems" in text


def test_a_validation_file_is_shown_with_what_it_shares() -> None:
    view = VIEW.model_copy(update={"validation": TRAINING, "shared_rows": 4})
    assert "4 validation row(s) are also in the training file" in shown(color=False, view=view)


def test_a_converted_row_is_shown_as_it_is_trained_and_a_file_may_have_no_summary() -> None:
    row = ROW.model_copy(update={"converted": '{"text":"\x1b"}'})
    text = shown(color=False, view=VIEW.model_copy(update={"training": TRAINING.model_copy(update={"rows": (row,)})}))
    assert r'converted to {"text":"\x1b"}' in text
    stopped = TRAINING.model_copy(update={"rows": (), "summary": None})
    text = shown(color=False, view=VIEW.model_copy(update={"training": stopped}))
    assert "training file file-1: encoding stopped before its end" in text


@pytest.mark.parametrize("name", ["page.svg", "page.html"])
def test_a_row_of_style_sheets_is_saved_whole(tmp_path: Path, name: str) -> None:
    row = ROW.model_copy(update={"runs": (TokenRun(text="@font-face { of: mine }", ids=(1,), weight=0),)})
    save(VIEW.model_copy(update={"training": TRAINING.model_copy(update={"rows": (row,)})}), tmp_path / name)
    assert "@font-face { of: mine }" in (tmp_path / name).read_text().replace("&#160;", " ")


def test_a_saved_picture_is_xml_whatever_characters_a_row_has(tmp_path: Path) -> None:
    text = "".join(map(chr, [*range(0x20), 0x7F, 0x85, 0x200E, 0x202E, 0x2028, 0xFDD0, 0xFFFE, 0xFFFF, 0x1F469]))
    row = ROW.model_copy(update={"runs": (TokenRun(text=f"<{text}&", ids=(1,), weight=1),), "converted": f"<{text}"})
    save(VIEW.model_copy(update={"training": TRAINING.model_copy(update={"rows": (row,)})}), tmp_path / "page.svg")
    ElementTree.parse(tmp_path / "page.svg")
