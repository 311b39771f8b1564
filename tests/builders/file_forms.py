"""Files in the forms that people have: real bytes of every container, and one sample of every shape."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow
from pyarrow import parquet

from workers.contract.files import Container

Rows = Sequence[dict[str, Any]]


def as_jsonl(rows: Rows) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_array(rows: Rows) -> bytes:
    return json.dumps(list(rows), indent=2).encode()


def as_csv(rows: Rows, delimiter: str = ",") -> bytes:
    """Lists are JSON in their cells."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    for row in rows:
        writer.writerow({key: json.dumps(cell) if isinstance(cell, list) else cell for key, cell in row.items()})
    return text.getvalue().encode()


def as_parquet(rows: Rows, **options: Any) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), sink, **options)
    return sink.getvalue()


def zstd(content: bytes) -> bytes:
    return pyarrow.compress(content, "zstd", asbytes=True)


CONTAINERS: dict[str, tuple[Callable[[Rows], bytes], Container]] = {
    "jsonl": (as_jsonl, Container.JSONL),
    "cr-only": (lambda rows: as_jsonl(rows).replace(b"\n", b"\r"), Container.JSONL),
    "crlf": (lambda rows: as_jsonl(rows).replace(b"\n", b"\r\n"), Container.JSONL),
    "utf-8-bom": (lambda rows: as_jsonl(rows).decode().encode("utf-8-sig"), Container.JSONL),
    "utf-16": (lambda rows: as_jsonl(rows).decode().encode("utf-16"), Container.JSONL),
    "utf-16-be": (lambda rows: b"\xfe\xff" + as_jsonl(rows).decode().encode("utf-16-be"), Container.JSONL),
    "array": (as_array, Container.JSON_ARRAY),
    "array-in-one-line": (lambda rows: json.dumps(list(rows)).encode(), Container.JSON_ARRAY),
    "csv": (as_csv, Container.CSV),
    "csv-semicolons": (lambda rows: as_csv(rows, ";"), Container.CSV),
    "csv-tabs-utf-16": (lambda rows: as_csv(rows, "\t").decode().encode("utf-16"), Container.CSV),
    "parquet": (as_parquet, Container.PARQUET),
    "parquet-zstd": (lambda rows: as_parquet(rows, compression="zstd"), Container.PARQUET),
    "gzip": (lambda rows: gzip.compress(as_jsonl(rows)), Container.JSONL),
    "gzip-in-parts": (lambda rows: b"".join(gzip.compress(as_jsonl([row])) for row in rows), Container.JSONL),
    "gzip-csv": (lambda rows: gzip.compress(as_csv(rows)), Container.CSV),
    "gzip-parquet": (lambda rows: gzip.compress(as_parquet(rows)), Container.PARQUET),
    "zstd": (lambda rows: zstd(as_jsonl(rows)), Container.JSONL),
    "zstd-array": (lambda rows: zstd(as_array(rows)), Container.JSON_ARRAY),
}  # fmt: skip
"""Name -> how rows are written so, and the container that they are told to be."""


def said(role: str, content: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content} | more


Q, A = "after 3?", "it is 4."
CHAT = [said("user", Q), said("assistant", A)]
CALL = {"name": "add", "arguments": '{"to": 3}'}
TOOL = {"name": "add", "description": "adds one", "parameters": {"type": "object", "properties": {}}}

SHAPES: dict[str, tuple[dict[str, Any], str, str]] = {
    "openai": ({"messages": CHAT}, "chat", "chat"),
    "content-parts": (
        {"messages": [said("user", [{"type": "text", "text": Q}]), CHAT[1] | {"refusal": None}]}, "chat", "chat"
    ),
    "functions": (
        {
            "messages": [
                CHAT[0],
                {"role": "assistant", "content": None, "function_call": CALL},
                said("function", "4", name="add"),
                CHAT[1],
            ],
            "functions": [TOOL],
        },
        "chat",
        "chat",
    ),
    "pairs": ({"prompt": Q, "completion": A}, "prompt_completion", "prompt_completion"),
    "pairs-of-messages": ({"prompt": CHAT[:1], "completion": CHAT[1:]}, "prompt_completion", "chat"),
    "text": ({"text": f"{Q} {A}"}, "text", "text"),
    "sharegpt": (
        {"conversations": [{"from": "human", "value": Q}, {"from": "gpt", "value": A}]}, "sharegpt", "chat"
    ),
    "alpaca": ({"instruction": "count", "input": Q, "output": A}, "alpaca", "chat"),
    "question": ({"question": Q, "answer": A}, "question_answer", "chat"),
    "query": ({"query": Q, "response": A}, "query_response", "chat"),
}  # fmt: skip
"""Name -> a row of each shape that a text task learns from, its shape, and its format."""
PREFERENCES: dict[str, tuple[dict[str, Any], str, str]] = {
    "openai-preference": (
        {
            "input": {"messages": CHAT[:1]},
            "preferred_output": CHAT[1:],
            "non_preferred_output": [said("assistant", "it is 5.")],
        },
        "preference",
        "preference",
    ),
    "trl-preference": ({"prompt": Q, "chosen": A, "rejected": "it is 5."}, "preference", "preference"),
    "kto": ({"prompt": Q, "completion": A, "label": True}, "kto", "kto"),
}
