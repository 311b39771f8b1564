"""What of a text acts on a screen: named, escaped, and refused in names; and never in a line of the log."""

import json
import unicodedata

import pytest
import structlog
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.characters import BIDI_OVERRIDES, CONTROLS, UNREADABLE, escaped, escaped_lines, json_escaped

EVERY = [chr(code) for code in range(0x110000)]
NASTY = "a\x1b[2J\x07\x9b31m\u202egpj.exe\u2066\u200f\u2028\r\n\tz"
any_text = st.text(st.characters())  # with lone surrogates


def test_the_characters_are_those_that_unicode_calls_control_line_break_or_surrogate():
    assert {c for c in EVERY if CONTROLS.match(c)} == {
        c for c in EVERY if unicodedata.category(c) in {"Cc", "Zl", "Zp", "Cs"}
    }


def test_every_embedding_override_and_isolate_of_unicode_is_among_them():
    kinds = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}
    assert {c for c in EVERY if unicodedata.bidirectional(c) in kinds} == BIDI_OVERRIDES
    assert all(UNREADABLE.match(c) for c in BIDI_OVERRIDES)


def test_ordinary_text_of_any_script_and_emoji_stay_as_they_are():
    for text in ("naïve 日本語 עברית العربية", "👩\u200d💻 🏳️\u200d🌈", "क\u200cष", "C:\\new\\x1b"):
        assert escaped(text) == text


@given(text=any_text)
def test_nothing_that_was_escaped_acts_on_a_screen(text: str):
    assert not UNREADABLE.search(escaped(text))
    assert not UNREADABLE.search(escaped_lines(text).replace("\n", ""))
    escaped(text).encode()


@given(value=st.recursive(any_text, lambda inner: st.lists(inner) | st.dictionaries(any_text, inner)))
def test_an_escaped_json_document_has_the_same_values(value: object):
    for indent in (None, 2):
        document = json_escaped(json.dumps(value, ensure_ascii=False, indent=indent))
        assert json.loads(document) == value
        assert not UNREADABLE.search(document.replace("\n", ""))


def test_the_spelling_says_which_character_it_was():
    assert escaped("\x1b[2J\u202e\n\t\x9b") == r"\x1b[2J\u202e\n\t\x9b"


def test_a_line_of_the_log_is_one_line_of_printable_text_whatever_a_tenant_wrote(capsys: pytest.CaptureFixture[str]):
    structlog.get_logger().info("request", path=NASTY, event_of_tenant={NASTY: [NASTY, "\ud800"]})
    try:
        raise ValueError(NASTY)
    except ValueError:
        structlog.get_logger().exception(NASTY)
    lines = capsys.readouterr().err.splitlines(keepends=True)
    assert len(lines) == 2
    assert all(line.endswith("\n") and line[:-1].isascii() and line[:-1].isprintable() for line in lines)
    assert json.loads(lines[0])["path"] == NASTY


@pytest.mark.parametrize("bad", ["\x1b", "\x7f", "\x85", "\u202e", "\u2066", "\u2028"])
def test_a_file_name_with_such_a_character_is_a_400_that_names_the_field(web: TestClient, bad: str):
    name = f"train{bad}.jsonl"
    row = b'{"text": "a row"}\n'
    sent = web.post("/v1/files", files={"file": (name, row)}, data={"purpose": "fine-tune"})
    raw = b'--x\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n%s\r\n--x\r\n' % (
        name.encode(),
        row,
    )
    raw += b'Content-Disposition: form-data; name="purpose"\r\n\r\nfine-tune\r\n--x--\r\n'
    as_it_is = web.post("/v1/files", content=raw, headers={"content-type": "multipart/form-data; boundary=x"})
    begun = web.post(
        "/v1/uploads", json={"bytes": 1, "filename": name, "mime_type": "text/plain", "purpose": "fine-tune"}
    )
    for answer in (as_it_is, begun) if bad == "\x1b" else (sent, as_it_is, begun):
        assert answer.status_code == 400, answer.text
        error = answer.json()["error"]
        assert error["param"] == "filename"
        assert f"U+{ord(bad):04X}" in error["message"]
        assert not UNREADABLE.search(answer.text)


def test_a_file_name_in_any_script_is_kept(web: TestClient):
    for name in ("données 日本.jsonl", "שלום\u200f.jsonl", "👩\u200d💻.jsonl"):
        answer = web.post("/v1/files", files={"file": (name, b'{"text": "a row"}\n')}, data={"purpose": "fine-tune"})
        assert (answer.status_code, answer.json()["filename"]) == (200, name)


def test_names_of_keys_tenants_and_webhooks_are_refused_alike(web: TestClient):
    hook = {"name": "ci\u202e", "url": "https://hooks.example/", "event_types": ["fine_tuning.job.succeeded"]}
    refused = web.post("/v1/webhook_endpoints", json=hook)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "name")
