"""`python -m tests.bench.encode [--rows 300] [--messages 10,100,1000] [--file-mb 200] --json`: rows to tokens.

Ours and transformers take turns on the same rows. Ours makes ids and loss weights; `apply_chat_template` and the
tokenizer's call make ids alone. Ratios above 1 say that ours is faster.
"""

import argparse
import gc
import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from importlib.metadata import version
from itertools import islice
from typing import Any, Final

from tests.bench.encode.memory import memory_figures
from tests.bench.encode.subjects import bench_tokenizer, chat_rows, long_row, pair_rows, templates, text_rows
from tests.bench.processor import describe_box, load_average, pace_ms
from tests.bench.spread import spread
from workers.contract.rows import ChatRow, PromptCompletionRow, Row, TextRow
from workers.data.text_encoder import TextEncoder

MESSAGES: Final = "10,100,1000,10000"
Encode = Callable[[], list[list[int]]]


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, print, and return what was printed."""
    given = _parser().parse_args(arguments)
    with redirect_stdout(sys.stderr):  # libraries greet on standard output, which is for the report alone
        report = _measured(given)
    print(json.dumps(report, indent=None if given.json else 1))
    return report


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.encode", description=__doc__)
    parser.add_argument("--rows", type=int, default=300, help="of each format")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", default=MESSAGES, help=f"lengths of the growing conversation; default {MESSAGES}")
    parser.add_argument(
        "--at-most-s", type=float, default=120.0, help="a length that would take longer, were it quadratic, is left out"
    )
    parser.add_argument("--file-mb", type=float, default=200.0, help="size of the file of the memory run; 0: none")
    parser.add_argument("--json", action="store_true", help="one JSON object on one line; without it, indented")
    return parser


def _measured(given: argparse.Namespace) -> dict[str, Any]:
    versions = {name: version(name) for name in ("tokenizers", "transformers", "trl")}
    report: dict[str, Any] = {"machine": describe_box() | {"pace_ms": pace_ms(), "versions": versions}}
    report["chat"] = {name: _chat(template, given) for name, template in templates().items()}
    report["prompt_completion"] = _plain(PromptCompletionRow, pair_rows(), given)
    report["text"] = _plain(TextRow, text_rows(), given)
    report["growth"] = {name: _growth(template, given) for name, template in templates().items()}
    if given.file_mb:
        _tell(f"memory: a file of {given.file_mb} MB")
        report["memory"] = memory_figures(given.file_mb)
    report["load_average_after"] = load_average()
    return report


def _chat(template: str, given: argparse.Namespace) -> dict[str, Any]:
    tokenizer, rows = bench_tokenizer(), list(islice(chat_rows(), given.rows))
    parsed = [ChatRow.model_validate(row) for row in rows]
    encoder = TextEncoder(tokenizer, template)
    return _beside(
        lambda: [encoder(row).ids for row in parsed],
        lambda: [_template_alone(tokenizer, template, row) for row in rows],
        given,
    )


def _plain(model: type[Row], rows: Iterator[dict[str, Any]], given: argparse.Namespace) -> dict[str, Any]:
    """Beside one call of the tokenizer a row, on the joined text."""
    tokenizer, taken = bench_tokenizer(), list(islice(rows, given.rows))
    parsed, texts = [model.model_validate(row) for row in taken], ["".join(row.values()) for row in taken]
    encoder, end = TextEncoder(tokenizer, None), [tokenizer.eos_token_id]
    return _beside(
        lambda: [encoder(row).ids for row in parsed],
        lambda: [tokenizer(text)["input_ids"] + end for text in texts],
        given,
    )


def _template_alone(tokenizer: Any, template: str, row: dict[str, Any]) -> list[int]:
    ids: list[int] = tokenizer.apply_chat_template(
        row["messages"], chat_template=template, tokenize=True, return_dict=True
    )["input_ids"]
    return ids


def _beside(ours: Encode, alone: Encode, given: argparse.Namespace) -> dict[str, Any]:
    """Both in turns, after a round that does not count."""
    expected = alone()
    tokens = sum(map(len, expected))
    found: dict[str, Any] = {"rows": len(expected), "tokens": tokens, "ids_equal": ours() == expected}
    gc.collect()
    seconds = [(_timed(ours), _timed(alone)) for _ in range(given.rounds)]
    for name, taken in zip(("ours", "transformers"), zip(*seconds, strict=True), strict=True):
        found[name] = {
            "rows_per_s": spread([len(expected) / each for each in taken]),
            "tokens_per_s": spread([tokens / each for each in taken]),
        }
    found["times_as_fast"] = spread([other / own for own, other in seconds])
    _tell(f"{found['times_as_fast']['median']} times as fast as transformers alone")
    return found


def _growth(template: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Seconds of one conversation by its number of messages. `exponent`: 1 is linear, 2 quadratic."""
    tokenizer, encoder = bench_tokenizer(), TextEncoder(bench_tokenizer(), template)
    found: list[dict[str, Any]] = []
    for messages in map(int, given.messages.split(",")):
        if found and found[-1]["seconds"] * (messages / found[-1]["messages"]) ** 2 > given.at_most_s:
            _tell(f"{messages} messages are left out: more than {given.at_most_s} s are to be feared")
            break
        row = long_row(messages)
        parsed = ChatRow.model_validate(row)
        repeats = max(1, min(5, 1_000 // messages))
        own = min(_timed(lambda parsed=parsed: [encoder(parsed).ids]) for _ in range(repeats))
        other = min(_timed(lambda row=row: [_template_alone(tokenizer, template, row)]) for _ in range(repeats))
        entry = {"messages": messages, "seconds": round(own, 5), "transformers_seconds": round(other, 5)}
        if found:
            last = found[-1]
            grown = math.log(own / last["seconds"]) / math.log(messages / last["messages"])
            entry["exponent"] = round(grown, 2)
        found.append(entry)
        _tell(f"{messages} messages: {own:.3f} s")
    return found


def _timed(encode: Encode) -> float:
    began = time.perf_counter()
    encode()
    return time.perf_counter() - began


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
