"""The catalogue file: what may be left out, and how its errors are told."""

from pathlib import Path

import pytest

from orchestrator.catalogue.document import CatalogueError
from orchestrator.catalogue.file import dump_catalogue, load_catalogue
from tests.builders.base_folder import PARAMETERS, make_folder
from tests.builders.live_api import make_catalogue
from workers.contract.base import DECODER_LINEARS, ComputeDtype, Quantization

FLAVORS = "flavors:\n- {name: cpu, memory_bytes: 1000000, count: 1}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "catalogue.yaml"
    path.write_text(text)
    return path


def errors(folder: Path, text: str) -> list[tuple[int, str, str]]:
    with pytest.raises(CatalogueError) as caught:
        load_catalogue(write(folder, text))
    return [(each.line, each.field, each.message) for each in caught.value.findings]


def test_an_id_and_a_source_are_enough_for_a_folder(tmp_path: Path) -> None:
    base = make_folder(tmp_path / "base")
    [entry] = load_catalogue(write(tmp_path, f"bases:\n- id: tiny\n  source: file:{base}\n{FLAVORS}")).bases
    assert entry.spec.shape.parameters == PARAMETERS
    assert entry.max_seq_len == 64, "no more than it has positions"
    assert entry.license == "apache-2.0"
    assert entry.quantizations == (Quantization.NF4, Quantization.INT8, Quantization.NONE)
    assert entry.compute_dtype is ComputeDtype.BF16
    assert entry.target_modules == DECODER_LINEARS


def test_a_base_whose_shape_is_written_down_is_not_read(tmp_path: Path) -> None:
    catalogue = make_catalogue()
    assert load_catalogue(write(tmp_path, dump_catalogue(catalogue))) == catalogue


def test_a_base_in_the_cache_of_the_hub_is_read_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("huggingface_hub")
    commit = "0" * 40
    repository = tmp_path / "models--org--tiny"
    make_folder(repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    for revision in ("", "  revision: main\n", f"  revision: '{commit}'\n"):
        text = f"bases:\n- id: tiny\n  source: hf:org/tiny\n{revision}{FLAVORS}"
        [base] = load_catalogue(write(tmp_path, text)).bases
        assert base.spec.shape.parameters == PARAMETERS


def test_a_base_of_the_hub_that_is_not_here_says_which_command_writes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    [(line, field, message)] = errors(tmp_path, f"bases:\n- id: a\n  source: hf:orchard-tests/none\n{FLAVORS}")
    assert (line, field) == (3, "bases.0.source")
    assert "`orchard catalogue add hf:orchard-tests/none`" in message


def test_every_error_is_listed_with_its_line(tmp_path: Path) -> None:
    base = make_folder(tmp_path / "base")
    encoder = make_folder(tmp_path / "bert", architectures=["BertForMaskedLM"])
    text = f"""
bases:
- id: tiny
  source: file:{base}
  max_seq_len: 65
  max_seq_len: 65
- source: ftp:x
  quantizations: [nf4, int3]
- id: tiny
  source: file:relative
  sorce: twice
- id: encoder
  source: file:{encoder}
flavors:
- name: cpu
  memory_bytes: -1
  count: 1
- name: cpu
  memory_bytes: 1
  count: 1
colour: red
"""
    found = errors(tmp_path, text)
    assert [(line, field) for line, field, _ in found] == [
        (5, "bases.0.max_seq_len"),
        (6, "bases.0.max_seq_len"),
        (7, "bases.1.id"),
        (7, "bases.1.source"),
        (8, "bases.1.quantizations.1"),
        (9, "bases.2.id"),
        (10, "bases.2.source"),
        (11, "bases.2.sorce"),
        (13, "bases.3.source"),
        (16, "flavors.0.memory_bytes"),
        (18, "flavors.1.name"),
        (21, "colour"),
    ]
    said = [message for _, _, message in found]
    assert said.pop(1) == "is written twice"
    assert said[0] == "max_seq_len 65 exceeds the base's 64 positions"
    assert said[1] == "is missing"
    assert said[4] == "'tiny' is listed twice, first at line 3"
    assert said[5].startswith("needs an absolute path")
    assert said[6] == "is no field of a catalogue"
    assert "BertForMaskedLM cannot be trained" in said[7]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("", 1, "valid dictionary"),
        ("[]", 1, "valid dictionary"),
        ("bases:\n- id: a\n b: [", 3, "is no YAML"),
        ("a: 1\nbases: []\n" + FLAVORS, 2, "is empty"),
        ("bases:\n- spec: {}\n" + FLAVORS, 2, "not nested any more"),
        ("bases:\n- licence: mit\n" + FLAVORS, 2, "spelled `license`"),
    ],
)
def test_a_file_of_another_kind_is_told_by_its_line(tmp_path: Path, text: str, line: int, message: str) -> None:
    assert any(found == line and message in said for found, _, said in errors(tmp_path, text))


def test_an_error_names_the_file_and_the_line_so_that_editors_find_it(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    with pytest.raises(CatalogueError, match=rf"^{path}:1: \(file\): cannot be read"):
        load_catalogue(path)
