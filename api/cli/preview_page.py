"""A preview on a terminal: what is trained stands out, by color where there is one, else between brackets. Pure."""

import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.text import Text

from orchestrator.characters import escaped_lines
from workers.contract.preview import FilePreview, FileSummary, PreviewRow, PreviewView, TokenRun

_TRAINED: Final = "black on green"
_PARTLY: Final = "black on yellow"
_PICTURE_COLUMNS: Final = 110
_FONT: Final = re.compile(r"\s*@font-face \{.*?\}", re.DOTALL)
_NO_XML: Final = re.compile("[\ufffe\uffff]")
"""Characters that no XML holds; controls are escaped before."""
_BREAK: Final = "↵"
_LEGEND: Final = TokenRun(text="this", ids=(), weight=1)


def page(view: PreviewView, *, color: bool) -> Iterator[Text]:
    """The preview in paragraphs. Without `color`, brackets mark what is trained."""
    yield _joined(f"{view.model} trains on ", _marked([_LEGEND], color), f"; {_BREAK} is a line break of the text")
    if view.training is not None:
        yield from _file("training", view.training, color)
    if view.validation is not None:
        yield from _file("validation", view.validation, color)
    if view.shared_rows is not None:
        yield Text(f"{view.shared_rows:,} validation row(s) are also in the training file")


def save(view: PreviewView, path: Path) -> None:
    """Write the page with its colors as SVG or HTML, by the path's ending. Raises: OSError."""
    console = Console(record=True, width=_PICTURE_COLUMNS, file=io.StringIO(), color_system="standard", highlight=False)
    for paragraph in page(view, color=True):
        console.print(paragraph, soft_wrap=path.suffix == ".html")
    if path.suffix == ".svg":  # whoever opens it asks no server for letters
        text = _NO_XML.sub("\N{REPLACEMENT CHARACTER}", _FONT.sub("", console.export_svg(title="orchard preview")))
    else:
        text = console.export_html()
    path.write_text(text, encoding="utf-8")


def _file(role: str, file: FilePreview, color: bool) -> Iterator[Text]:
    yield Text("")
    for row in file.rows:
        yield Text(f"{role} line {row.line}: {_facts(row)}", style="bold")
        if row.converted is not None:
            yield Text(f"converted to {escaped_lines(row.converted)}", style="dim")
        yield _marked(row.runs, color)
        yield Text("")
    totals = "encoding stopped before its end" if file.summary is None else _totals(file.summary)
    yield Text(f"{role} file {file.file_id}: {totals}")
    for issue in file.issues:
        where = f"line {issue.line}" + (f", {issue.field}" if issue.field else "")
        yield Text(escaped_lines(f"  {where}: {issue.message}"), style="red")
    if file.issue_count > len(file.issues):
        yield Text(f"  and {file.issue_count - len(file.issues):,} more problems", style="red")


def _facts(row: PreviewRow) -> str:
    facts = [f"{row.tokens:,} tokens, {row.trained_tokens:,} trained"]
    if row.truncated_to is not None:
        facts.append(f"truncated to {row.truncated_to:,}")
    if row.shown_tokens < (row.truncated_to or row.tokens):
        facts.append(f"the first {row.shown_tokens:,} shown")
    if row.dropped:
        facts.append("the chat template leaves out " + ", ".join(map(escaped_lines, row.dropped)))
    return "; ".join(facts)


def _totals(summary: FileSummary) -> str:
    rows = _counted(summary.rows, "row")
    facts = [f"{rows}, {summary.tokens:,} tokens, {summary.trained_tokens:,} trained"]
    if summary.lengths is not None:
        lengths = summary.lengths
        facts.append(f"tokens a row: p50 {lengths.p50:,}, p95 {lengths.p95:,}, max {lengths.max:,}")
    if summary.duplicates:
        facts.append(_counted(summary.duplicates, "duplicate"))
    counts = {
        "truncated": summary.truncated,
        "left out as too long": summary.too_long,
        "with nothing to learn": summary.nothing_to_learn,
    }
    return "; ".join(facts + [f"{count:,} {name}" for name, count in counts.items() if count])


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}" + ("" if count == 1 else "s")


def _marked(runs: Sequence[TokenRun], color: bool) -> Text:
    text = Text()
    for run in runs:
        shown = escaped_lines(run.text).replace("\n", f"{_BREAK}\n")
        if not run.weight:
            text.append(shown)
        elif color:
            text.append(shown, style=_TRAINED if run.weight == 1 else _PARTLY)
        else:
            text.append(f"⟦{shown}⟧" if run.weight == 1 else f"⟦{run.weight:g}: {shown}⟧")
    return text


def _joined(before: str, marked: Text, after: str) -> Text:
    return Text(before).append_text(marked).append(after)
