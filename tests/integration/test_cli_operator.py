"""`orchard db`, `keys create-admin` and `catalogue`: a server's machine before any server runs."""

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from alembic.script import ScriptDirectory
from sqlalchemy import text
from typer.testing import CliRunner, Result

from api.cli.checks import check_catalogue
from api.cli.errors import CheckResult
from api.cli.main import app
from api.cli.session import Session
from orchestrator.catalogue.file import load_catalogue
from orchestrator.db.database import Database
from orchestrator.db.migrate import alembic_config, upgrade
from orchestrator.tenancy.authenticate import authenticate
from orchestrator.tenancy.views import Role
from tests.builders.base_folder import SHAPES, make_folder, write_safetensors

NEWEST = ScriptDirectory.from_config(alembic_config()).get_current_head()


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ORCHARD_DATABASE_URL", "ORCHARD_CATALOGUE"):
        monkeypatch.delenv(name, raising=False)


def orchard(*args: str) -> Result:
    return CliRunner().invoke(app, list(args), obj=Session())


def test_check_says_what_is_there_and_upgrade_brings_what_is_wanted(empty_url: str) -> None:
    before = orchard("db", "check", "--database-url", empty_url)
    assert before.exit_code == 1
    assert "Error (schema): the database holds no schema, this code wants" in before.stderr
    assert "Try: orchard db upgrade" in before.stderr
    for was in ("empty", NEWEST):
        done = orchard("db", "upgrade", "--database-url", empty_url)
        assert done.exit_code == 0, done.stderr
        assert f"(was: {was}" in done.stderr
    assert orchard("db", "check", "--database-url", empty_url).exit_code == 0


def test_a_database_that_is_behind_or_ahead_is_told_with_both_revisions(
    empty_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORCHARD_DATABASE_URL", empty_url)
    upgrade(empty_url, "0001")
    behind = orchard("db", "check")
    assert behind.exit_code == 1
    assert f"is at 0001, this code wants {NEWEST}" in behind.stderr
    refused = orchard("keys", "create-admin")
    assert "is at 0001" in refused.stderr
    assert "sk-orchard-" not in refused.stdout
    db = Database(empty_url)
    with db.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    db.dispose()
    ahead = orchard("db", "upgrade")
    assert ahead.exit_code == 1
    assert "9999" in ahead.stderr


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("nonsense", "database_url"),
        ("oracle://x", "database_url"),
        ("postgresql+psycopg://nobody:secret-word@127.0.0.1:1/none", "database_down"),
        ("sqlite:////nowhere/at/all.sqlite", "database_down"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_line_without_its_password(url: str, code: str) -> None:
    for command in (("db", "check"), ("db", "upgrade"), ("keys", "create-admin")):
        done = orchard(*command, "--database-url", url)
        assert done.exit_code == 1
        assert f"Error ({code}):" in done.stderr
        assert "secret-word" not in done.stderr
        assert "Traceback" not in done.stderr


def test_without_a_database_the_variable_is_named() -> None:
    assert "ORCHARD_DATABASE_URL" in orchard("db", "check").stderr


def test_the_first_admin_key_is_printed_once_and_opens_the_door(empty_url: str) -> None:
    upgrade(empty_url)
    done = orchard("keys", "create-admin", "--database-url", empty_url, "--name", "bootstrap")
    assert done.exit_code == 0, done.stderr
    key = done.stdout.strip()
    assert key not in done.stderr
    db = Database(empty_url)
    assert authenticate(db, key, None, datetime.now(UTC)).role is Role.ADMIN
    db.dispose()


def test_a_base_is_added_by_one_line_and_shown(tmp_path: Path) -> None:
    base = make_folder(tmp_path / "tiny")
    done = orchard("catalogue", "add", f"file:{base}")
    assert done.exit_code == 0, done.stderr
    [entry] = yaml.safe_load(done.stdout)
    assert entry.items() >= {"id": "tiny", "source": f"file:{base}", "license": "apache-2.0", "max_seq_len": 64}.items()
    assert "has a chat template" in done.stderr
    plain = make_folder(tmp_path / "plain", template=False)
    done = orchard("catalogue", "add", f"file:{plain}", "--id", "other")
    assert "rows with `messages` will be refused" in " ".join(done.stderr.split())
    assert [base.id for base in load_catalogue(tmp_path / ".orchard/catalogue.yaml").bases] == ["tiny", "other"]
    well = orchard("catalogue", "check")
    assert well.exit_code == 0
    assert "Bases: 2, flavors: 1." in well.stderr


def test_a_base_whose_tokenizer_is_written_in_python_is_added_and_what_it_refuses_is_said_at_once(
    tmp_path: Path,
) -> None:
    base = make_folder(tmp_path / "bytes")
    (base / "tokenizer.json").unlink()
    (base / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "ByT5Tokenizer"}))
    for command in (("add", f"file:{base}"), ("check",)):
        done = orchard("catalogue", *command)
        assert done.exit_code == 0, done.stderr
        said = " ".join(done.stderr.split())
        assert "The tokenizer of bytes (ByT5Tokenizer) is written in Python" in said
        assert "rows with `messages` will be refused" in said


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    base = make_folder(tmp_path / "tiny")
    assert orchard("catalogue", "add", f"file:{base}", "--dry-run").exit_code == 0
    assert not (tmp_path / ".orchard").exists()


def test_a_base_that_cannot_be_trained_is_refused_where_it_is_added(tmp_path: Path) -> None:
    base = make_folder(tmp_path / "bert", architectures=["BertForMaskedLM"])
    done = orchard("catalogue", "add", f"file:{base}")
    assert done.exit_code == 2
    assert "BertForMaskedLM cannot be trained" in done.stderr
    assert not (tmp_path / ".orchard").exists()


def truncate(base: Path) -> None:
    file = base / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def reconfigure(base: Path, **changes: object) -> None:
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | changes))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (truncate, "model.safetensors is truncated"),
        (lambda base: (base / "model.safetensors").unlink(), "no *.safetensors file"),
        (lambda base: (base / "config.json").write_text("{"), "config.json of the base is not valid JSON"),
        (lambda base: (base / "config.json").write_text("[]"), "holds no JSON object"),
        (lambda base: (base / "config.json").unlink(), "there is no config.json"),
        (lambda base: (base / "tokenizer.json").unlink(), "there is no tokenizer"),
        (lambda base: reconfigure(base, architectures=["BertLMHeadModel"]), "BertLMHeadModel cannot be trained"),
        (
            lambda base: reconfigure(base, architectures=["MambaForCausalLM"], num_attention_heads=None),
            "has no num_att",
        ),
        (lambda base: reconfigure(base, is_encoder_decoder=True), "is an encoder-decoder"),
        (shutil.rmtree, "the folder of the base does not exist"),
    ],
    ids=lambda case: case if isinstance(case, str) else "",
)
def test_check_doctor_and_up_find_a_broken_base_before_a_job_does_though_its_entry_is_whole(
    tmp_path: Path, damage: Callable[[Path], None], said: str
) -> None:
    base = make_folder(tmp_path / "tiny")
    orchard("catalogue", "add", f"file:{base}")
    path = tmp_path / ".orchard/catalogue.yaml"
    assert orchard("catalogue", "check").exit_code == 0
    damage(base)
    assert len(load_catalogue(path).bases) == 1, "a process whose files lie elsewhere starts all the same"
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if text.strip().startswith("source:"))
    for command in (("catalogue", "check"), ("up",)):
        done = orchard(*command)
        assert done.exit_code == 2
        assert f".orchard/catalogue.yaml:{line}: bases.0.source: " in done.stderr
        assert said in done.stderr
    [finding] = check_catalogue(tmp_path / ".orchard")
    assert (finding.verdict, said in finding.found) == (CheckResult.BAD, True)


def entry(tmp_path: Path, base: Path, parameters: int = 10_000, **changes: object) -> Path:
    """A catalogue whose one entry was written by hand, shape and all."""
    path = tmp_path / "catalogue.yaml"
    shape = {"parameters": parameters, "vocab_size": 10, "hidden_size": 8, "intermediate_size": 16, "num_layers": 2}
    shape |= {"query_size": 8, "key_value_size": 4, "max_positions": 64}
    fields = {"id": "tiny", "source": f"file:{base}", "max_seq_len": 64, "shape": shape} | changes
    flavor = {"name": "cpu", "memory_bytes": 10**9, "count": 1}
    path.write_text(yaml.safe_dump({"bases": [fields], "flavors": [flavor]}, sort_keys=False))
    return path


def make_gpt2(folder: Path) -> Path:
    make_folder(folder, architectures=["GPT2LMHeadModel"])
    linears = {"attn.c_attn": (8, 24), "attn.c_proj": (8, 8), "mlp.c_fc": (8, 32), "mlp.c_proj": (32, 8)}
    shapes = {f"h.{n}.{name}.weight": sizes for n in range(2) for name, sizes in linears.items()}
    write_safetensors(folder / "model.safetensors", shapes)
    return folder


def test_the_linears_of_a_base_whose_entry_names_none_are_found_when_the_catalogue_loads(tmp_path: Path) -> None:
    path = entry(tmp_path, make_gpt2(tmp_path / "gpt2"))
    [base] = load_catalogue(path).bases
    assert base.target_modules == ("c_attn", "c_fc", "c_proj")
    assert orchard("catalogue", "check", "--catalogue", str(path)).exit_code == 0


def make_moe(folder: Path) -> Path:
    make_folder(folder, architectures=["Qwen3MoeForCausalLM"])
    experts = {f"model.layers.0.mlp.experts.{n}.down_proj.weight": (8, 32) for n in range(16)}
    write_safetensors(folder / "model.safetensors", SHAPES | experts)
    return folder


@pytest.mark.parametrize(
    ("make", "changes", "field", "said"),
    [
        (make_gpt2, {"target_modules": ["q_proj"]}, "target_modules", "no linear named q_proj; it has c_attn, c_fc"),
        (make_moe, {"quantizations": ["none", "nf4"]}, "quantizations", "cannot be held as nf4: 77% of its weights"),
        (make_folder, {"parameters": 1_000}, "shape", "`parameters` is 1000, but the files hold 1256 weights"),
    ],
    ids=["linears", "experts", "parameters"],
)
def test_check_finds_what_an_entry_promises_and_its_base_does_not_have(
    tmp_path: Path, make: Callable[[Path], Path], changes: dict[str, object], field: str, said: str
) -> None:
    path = entry(tmp_path, make(tmp_path / "base"), **changes)
    done = orchard("catalogue", "check", "--catalogue", str(path))
    assert done.exit_code == 2
    assert f": bases.0.{field}: " in done.stderr
    assert said in done.stderr


def test_a_base_with_experts_is_offered_unquantized_where_the_entry_does_not_say(tmp_path: Path) -> None:
    done = orchard("catalogue", "add", f"file:{make_moe(tmp_path / 'moe')}")
    [written] = yaml.safe_load(done.stdout)
    assert written["quantizations"] == ["none"]


def test_check_lists_every_error_with_file_and_line_and_doctor_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text("bases:\n- id: a\n- source: hf:a/b\nflavors: []\n")
    monkeypatch.setenv("ORCHARD_CATALOGUE", str(path))
    done = orchard("catalogue", "check")
    assert done.exit_code == 2
    lines = done.stderr.splitlines()
    assert lines[0] == f"{path}:2: bases.0.source: is missing"
    assert lines[1] == f"{path}:3: bases.1.id: is missing"
    assert lines[2].startswith(f"{path}:4: flavors: ")
    assert lines[3].startswith(f"Error (catalogue): 3 errors in {path}")
    [finding] = check_catalogue(tmp_path)
    assert finding.verdict is CheckResult.BAD
    assert "(of 3)" in finding.found
