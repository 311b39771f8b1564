"""Values at and beyond every edge, and where a request can carry them: read from the OpenAPI document."""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

_EDGES = [2**bits for bits in (15, 31, 32, 53, 63, 64, 128)]
INTEGERS = (
    *(str(number) for edge in _EDGES for number in (edge - 1, edge, -edge - 1)),
    *("-1", "0", str(10**22), str(10**23), str(10**400), "9" * 5_000),
)
NUMBERS = (*INTEGERS, "1e22", "1e308", "1e400", "5e-324", "inf", "-inf", "nan", "Infinity", "NaN")
TEXTS = ("", " ", "null", "a" * 300, "a" * 20_000, "\u202e", "\x1b[2J", "\u0085", "\U0010ffff", "'\"\\%;--")
BYTES = (b"\x00", b"a\x00b", b"\xed\xa0\x80", b"\xff\xfe", b"\xc0\x80")
"""As percent-encoded or raw bytes: U+0000, half of a surrogate pair, and what is no UTF-8."""
JSON_TEXTS = tuple(f'"{text}"' for text in (r"\u0000", r"a\u0000b", r"\ud800", r"\udfff\ud800", r"\u202e", r"\u001b"))
"""As JSON spells them."""
JSON_VALUES = (*NUMBERS, *JSON_TEXTS, '""', '"' + "a" * 20_000 + '"', "[]", "{}", "null", "true", "[" * 500 + "]" * 500)


@dataclass(frozen=True)
class Operation:
    """A method of a path, its parameters, and the schema of its JSON body, if it takes one."""

    method: str
    path: str
    parameters: tuple[dict[str, Any], ...]
    body: dict[str, Any] | None


def operations(document: dict[str, Any]) -> list[Operation]:
    """Every operation of the document."""
    found = []
    for path, item in document["paths"].items():
        for method, operation in item.items():
            content = operation.get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema")
            parameters = tuple(operation.get("parameters", ()))
            found.append(Operation(method.upper(), path, parameters, schema))
    return found


def variants(document: dict[str, Any], schema: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The schema without references and alternatives: each form that a value may have."""
    if "$ref" in schema:
        yield from variants(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
        return
    choices = schema.get("anyOf") or schema.get("oneOf")
    if not choices:
        yield schema
    for choice in choices or ():
        yield from variants(document, choice)


def places(document: dict[str, Any], schema: dict[str, Any], at: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every field in a body of this schema, whole objects too."""
    if at:
        yield at
    for form in variants(document, schema):
        for name, inner in form.get("properties", {}).items():
            yield from places(document, inner, (*at, name))


def leaves(document: dict[str, Any], schema: dict[str, Any], at: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every form of every field, with its path; items of lists and values of maps are `[]`."""
    for form in variants(document, schema):
        inside = [(f"{at}.{name}", inner) for name, inner in form.get("properties", {}).items()]
        inside += [
            (f"{at}[]", form[key]) for key in ("items", "additionalProperties") if isinstance(form.get(key), dict)
        ]
        for path, inner in inside:
            yield from leaves(document, inner, path)
        if not inside:
            yield at, form


def with_value(body: dict[str, Any], at: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A copy of the body that has `value` at the path."""
    changed = inner = deepcopy(body)
    for name in at[:-1]:
        if not isinstance(inner.get(name), dict):
            inner[name] = {}
        inner = inner[name]
    inner[at[-1]] = value
    return changed
