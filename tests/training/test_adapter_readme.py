"""The README of a downloaded adapter holds code that gives the losses which its job reported."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from bitsandbytes.functional import has_avx512bf16
from peft import PeftModel
from transformers import AutoModelForCausalLM, BitsAndBytesConfig

from tests.builders import tiny_base as tiny
from tests.builders.chat import ADD, calls, result, says
from tests.builders.driving import drain, outcome_of
from tests.builders.families import families
from tests.builders.reference_loss import loss_of
from tests.builders.specs import chat_row, make_dataset, make_host_spec, make_job_spec, make_order
from workers.contract.base import BaseSpec, ComputeDtype, Quantization
from workers.contract.lanes import Lane
from workers.contract.methods import Ia3, MethodSpec, PromptTuning, Vera
from workers.contract.methods.on_linears import ALL_LINEAR
from workers.contract.reports import Outcome
from workers.contract.rows import DatasetFormat
from workers.contract.spec import JobSpec, Overlength
from workers.host import TrainingHost

pytestmark = pytest.mark.slow

CHAT, COMPLETION, TEXT = DatasetFormat.CHAT, DatasetFormat.PROMPT_COMPLETION, DatasetFormat.TEXT
NF4, INT8, NONE = Quantization.NF4, Quantization.INT8, Quantization.NONE
BF16, FP32 = ComputeDtype.BF16, ComputeDtype.FP32
MAX_SEQ_LEN = 64


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> BaseSpec:
    """A base whose blocks of weights differ in scale, as those of trained models do: a random one's are all alike."""
    folder = tmp_path_factory.mktemp("uneven")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tiny.SIZES, "hidden_size", 128)
        patch.setitem(tiny.SIZES, "intermediate_size", 256)
        spec = tiny.make_tiny_base(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    scale = torch.Generator().manual_seed(3)
    for module in model.model.modules():
        if isinstance(module, torch.nn.Linear):
            rows, columns = module.weight.shape
            blocks = torch.exp(torch.randn(rows, columns // 64, generator=scale)).repeat_interleave(64, 1)
            module.weight.data *= blocks
    model.save_pretrained(folder)
    return spec


def rows_of(format: DatasetFormat, start: int, count: int) -> list[dict[str, Any]]:
    """Rows of growing length; chats have a turn that counts for less, and one that carries no loss."""
    questions = [(f"after {n}?", f"it is {n + 1}" + "." * n) for n in range(start, start + count)]
    match format:
        case DatasetFormat.CHAT:
            ask, greet = chat_row("hello", "hi")["messages"]
            firsts = [[ask, greet | {"weight": weight}] for weight in (0, 0.25, 1)]
            return [{"messages": firsts[n % 3] + chat_row(*pair)["messages"]} for n, pair in enumerate(questions)]
        case DatasetFormat.PROMPT_COMPLETION:
            return [{"prompt": question, "completion": answer} for question, answer in questions]
        case _:
            return [{"text": " ".join(pair)} for pair in questions]


def trained(
    folder: Path,
    base: BaseSpec,
    format: DatasetFormat = CHAT,
    more: Sequence[dict[str, Any]] = (),
    method: MethodSpec | None = None,
    **changes: Any,
) -> tuple[JobSpec, Outcome]:
    """A job over every linear, and how it ended. `more`: other rows of both files."""
    spec = make_job_spec(
        folder,
        base,
        training=make_dataset(folder / "train.jsonl", [*rows_of(format, 0, 12), *more], format),
        validation=make_dataset(folder / "valid.jsonl", [*rows_of(format, 12, 5), *more], format),
        targets=(ALL_LINEAR,),
        **({"max_seq_len": 128} | changes),
    )
    if method is not None:
        spec = spec.model_copy(update={"method": method})
    precision = {"lane": spec.lane, "quantization": spec.quantization, "compute_dtype": spec.compute_dtype}
    host = TrainingHost(make_host_spec(folder, base, **precision))
    host.attach(make_order(spec))
    outcome = outcome_of(drain(host), spec.job_id)
    assert outcome.adapter is not None, outcome
    return spec, outcome


def as_the_readme_says(download: Path, validation: Path) -> tuple[float, float]:
    """Run the README's program in the downloaded folder. Returns what it prints: the losses before and after."""
    (download / "validation.jsonl").write_bytes(validation.read_bytes())
    program = (download / "peft" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    done = subprocess.run([sys.executable, "-c", program], cwd=download, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = dict(line.split() for line in done.stdout.splitlines())
    return float(printed["before"]), float(printed["after"])


@pytest.mark.parametrize(
    ("format", "changes", "within"),
    [
        (CHAT, {"quantization": NF4, "compute_dtype": FP32}, 1e-5),
        (CHAT, {"quantization": NF4, "compute_dtype": BF16}, 1e-2),
        (CHAT, {"quantization": INT8, "compute_dtype": FP32}, 2e-2),
        (CHAT, {"quantization": NONE, "max_seq_len": MAX_SEQ_LEN, "overlength": Overlength.TRUNCATE}, 1e-5),
        (COMPLETION, {"quantization": NF4, "max_seq_len": 40, "overlength": Overlength.DROP}, 1e-5),
        (TEXT, {"quantization": NF4}, 1e-5),
    ],
)
def test_the_readmes_program_prints_the_losses_that_the_job_reported(
    tmp_path: Path, base: BaseSpec, format: DatasetFormat, changes: dict[str, Any], within: float
) -> None:
    _, outcome = trained(tmp_path, base, format, **changes)
    download = Path(outcome.adapter.uri.removeprefix("file://"))  # type: ignore[union-attr]
    printed = as_the_readme_says(download, tmp_path / "valid.jsonl")
    assert printed == pytest.approx((outcome.eval_loss_before, outcome.eval_loss_after), rel=within)
    assert printed[1] < printed[0]


@pytest.mark.parametrize(
    ("method", "dtype", "within"),
    [(Ia3(), BF16, 1e-2), (PromptTuning(n_tokens=4), FP32, 1e-5), (Vera(rank=16), FP32, 1e-5)],
)
def test_the_readmes_program_holds_for_other_methods(
    tmp_path: Path, base: BaseSpec, method: MethodSpec, dtype: ComputeDtype, within: float
) -> None:
    resolved = method.resolve(base.shape.linear_names)
    changes = {"quantization": NF4, "compute_dtype": dtype, "learning_rate": 3e-2, "lane": Lane.SOLO}
    _, outcome = trained(tmp_path, base, method=resolved, **changes)
    download = Path(outcome.adapter.uri.removeprefix("file://"))  # type: ignore[union-attr]
    _, after = as_the_readme_says(download, tmp_path / "valid.jsonl")
    assert after == pytest.approx(outcome.eval_loss_after, rel=within)


@pytest.mark.parametrize("template", [tiny.CHATML_WITH_GENERATION, families()["qwen3_instruct_2507"].stock])
def test_a_template_that_marks_the_assistants_turns_or_its_twin_is_asked_for_them(
    tmp_path: Path, base: BaseSpec, template: str
) -> None:
    marked = base.model_copy(update={"chat_template": template})
    row = {"messages": [says("user", "add 4"), calls({"n": 4, "why": "so"}), result("8"), says("assistant", "8")]}
    shows_calls = template != tiny.CHATML_WITH_GENERATION
    more = [row | {"tools": [ADD]}] if shows_calls else []
    _, outcome = trained(tmp_path, marked, more=more, quantization=NF4, max_seq_len=1_024)
    download = Path(outcome.adapter.uri.removeprefix("file://"))  # type: ignore[union-attr]
    assert "return_assistant_tokens_mask" in (download / "peft" / "README.md").read_text()
    printed = as_the_readme_says(download, tmp_path / "valid.jsonl")
    assert printed == pytest.approx((outcome.eval_loss_before, outcome.eval_loss_after), rel=1e-5)


@pytest.mark.skipif(not has_avx512bf16(), reason="bitsandbytes repacks weights only on CPUs with AVX512-BF16")
def test_without_the_readmes_care_a_base_that_was_evaluated_first_gives_other_losses(
    tmp_path: Path, base: BaseSpec
) -> None:
    """The reason for the care. When this fails, bitsandbytes has been mended and the README can be shorter."""
    spec, outcome = trained(tmp_path, base, quantization=NF4)
    nf4 = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.float32)
    model = AutoModelForCausalLM.from_pretrained(base.location, dtype=torch.float32, quantization_config=nf4)
    loss_of(model, spec)
    adapter = Path(outcome.adapter.uri.removeprefix("file://")) / "peft"  # type: ignore[union-attr]
    assert abs(loss_of(PeftModel.from_pretrained(model, adapter), spec) - outcome.eval_loss_after) > 0.1
