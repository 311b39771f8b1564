"""A new base in a catalogue that people have written by hand."""

from pathlib import Path

import pytest
import yaml

from orchestrator.catalogue.add import default_id, read_base, write_into
from orchestrator.catalogue.document import CatalogueError
from orchestrator.catalogue.file import load_catalogue
from orchestrator.catalogue.refusal import Refused
from tests.builders.base_folder import make_folder

FIRST = "{id: first, source: 'file:/nowhere', shape: &sizes {parameters: 1, vocab_size: 1, hidden_size: 1, "
FIRST += "intermediate_size: 1, num_layers: 1, query_size: 1, key_value_size: 1, max_positions: 64}}"
FLAVORS = "flavors:  # what we have\n  - {name: cpu, memory_bytes: 1, count: 1}\n"
BLOCK = "\n".join(yaml.safe_dump([yaml.safe_load(FIRST)], sort_keys=False).splitlines())


@pytest.fixture
def new(tmp_path: Path):
    return read_base(f"file:{make_folder(tmp_path / 'Base 1')}", None, None)


@pytest.mark.parametrize(
    "text",
    [
        f"# ours\nbases:\n- {FIRST}  # the first\n\n# the devices\n{FLAVORS}",
        f"bases:\n  # offers\n  - {FIRST}\n  # no more\n{FLAVORS}# end\n",
        f"{FLAVORS}bases:\n{BLOCK}",
        f"bases:\n{BLOCK}\n  chat_template: |\n    one\n    two\n\n{FLAVORS}",
        f"bases: [{FIRST}]\n{FLAVORS}",
        f"bases: [{FIRST},\n]\n{FLAVORS}",
    ],
)
def test_the_entry_is_added_and_every_other_line_stays_as_it_was(tmp_path: Path, text: str, new) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(text)
    path.chmod(0o640)
    before = load_catalogue(path)
    write_into(path, new)
    after = load_catalogue(path)
    assert (after.bases[:-1], after.flavors) == (before.bases, before.flavors)
    assert after.bases[-1] == new.base
    kept = iter(path.read_text())
    assert all(character in kept for character in text), "nothing is taken away or moved"
    assert path.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["catalogue.yaml"]


def test_an_id_that_is_listed_already_is_refused_and_the_file_stays(tmp_path: Path, new) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(f"bases:\n- {FIRST}\n{FLAVORS}")
    write_into(path, new)
    text = path.read_text()
    with pytest.raises(CatalogueError, match="'base-1' is listed already"):
        write_into(path, new)
    assert path.read_text() == text


def test_a_catalogue_with_errors_is_not_written_to(tmp_path: Path, new) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text("bases: []\n")
    with pytest.raises(CatalogueError, match="flavors: is missing"):
        write_into(path, new)
    assert path.read_text() == "bases: []\n"


@pytest.mark.parametrize(
    ("location", "is_file", "expected"),
    [("org/Name-7B", False, "name-7b"), ("/a/My Base.gguf", True, "my-base"), ("/a/b.v2", False, "b.v2")],
)
def test_the_id_is_the_last_part_of_the_source(location: str, is_file: bool, expected: str) -> None:
    assert default_id(location, is_file=is_file) == expected


@pytest.mark.parametrize("source", ["org/name", "ftp:x", "hf:", ""])
def test_what_is_no_source_is_refused(source: str) -> None:
    with pytest.raises(Refused, match="write hf:org/name"):
        read_base(source, None, None)


def test_a_folder_has_no_revision(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="revision belongs"):
        read_base(f"file:{make_folder(tmp_path)}", None, "main")


def test_an_id_of_any_length_and_a_base_without_positions_are_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path, max_position_embeddings=4)
    with pytest.raises(Refused, match="has 4 positions"):
        read_base(f"file:{folder}", None, None)
    for name in ("", "x" * 129):
        with pytest.raises(Refused, match="an id has 1 to 128"):
            read_base(f"file:{folder}", name, None)
