"""What every method promises, in every lane that can train it. A new method is tested by being registered."""

import math
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.builders.driving import as_ref, drain, losses, of_job, outcome_of, work_to_step
from tests.builders.reference_loss import loss_of
from tests.builders.specs import make_dataset, make_host_spec, make_job_spec, make_order, sum_rows
from tests.conformance import example
from workers import methods, tasks
from workers.bases import load_base
from workers.contract import methods as method_specs
from workers.contract import tasks as task_specs
from workers.contract.base import BaseSpec, ComputeDtype, Quantization
from workers.contract.errors import ErrorCode, InvalidTargetModules
from workers.contract.lanes import Lane
from workers.contract.methods import MethodSpec
from workers.contract.methods.on_linears import OnLinears
from workers.contract.reports import CheckpointManifest, ExitClass, Report
from workers.contract.spec import JobSpec
from workers.engine.adapter import copied
from workers.host import TrainingHost
from workers.methods import Site
from workers.methods.linears import adaptable_linears

OPTIONS: dict[str, dict[str, Any]] = {
    "c3a": {"block_size": 16},
    "fourierft": {"n_frequency": 200},
    "gralora": {"rank": 8},
    "lora dora": {"dora": True, "dropout": 0.1},
    "lora lr_ratio": {"lr_ratio": 4.0},
    "lora rslora": {"rslora": True},
    "miss": {"rank": 8},
    "oft": {"block_size": 16},
    "randlora": {"rank": 8},
    "p_tuning": {"n_tokens": 4, "encoder_hidden_size": 32},
    "prefix_tuning": {"n_tokens": 4},
    "prompt_tuning": {"n_tokens": 4},
    "road": {"group_size": 16},
    "vera": {"rank": 64},
    "waveft": {"n_frequency": 200},
}
"""Where the defaults are too large for the tiny base, and options that make another method of it."""


def method_of(name: str) -> MethodSpec:
    return method_specs.METHODS[name.split(maxsplit=1)[0]].model_validate(OPTIONS.get(name, {}))


def lanes_of(name: str) -> list[Lane]:
    spec = method_of(name)
    return sorted(lane for lane in spec.lanes if lane is not Lane.FUSED or spec.unfusible() is None)


with example.registered():
    NAMES = sorted({*method_specs.METHODS, *OPTIONS})
    CASES = [(name, lane) for name in NAMES for lane in lanes_of(name)]
    ON_LINEARS = [name for name in NAMES if isinstance(method_of(name), OnLinears)]
    QUANTIZED = [
        (name, quantization)
        for name in NAMES
        for quantization in (Quantization.NF4, Quantization.INT8)
        if method_of(name).refuses(quantization) is None
    ]
every_method = pytest.mark.parametrize(("name", "lane"), CASES)


@pytest.fixture(autouse=True)
def _example_is_registered() -> Iterator[None]:
    with example.registered():
        yield


def test_the_registries_with_and_without_torch_have_the_same_members():
    assert methods.METHODS.names() == set(method_specs.METHODS)
    assert tasks.TASKS.names() == set(task_specs.TASKS)


@pytest.mark.parametrize("name", NAMES)
def test_it_has_a_fused_form_exactly_where_its_spec_offers_the_fused_lane(tiny_base: BaseSpec, name: str):
    spec = method_of(name).resolve([linear.name for linear in tiny_base.shape.linears])
    form = methods.METHODS.of(spec).fused_form(spec, adaptable_linears(load(tiny_base)))
    assert (form is not None) == (Lane.FUSED in lanes_of(name))


def job(folder: Path, base: BaseSpec, name: str, lane: Lane, job_id: str = "ftjob-1", seed: int = 7) -> JobSpec:
    """Six steps of the method as its defaults have it."""
    linears = [linear.name for linear in base.shape.linears]
    spec = make_job_spec(
        folder,
        base,
        job_id=job_id,
        lane=lane,
        seed=seed,
        validation=make_dataset(folder / "validation.jsonl", sum_rows(5, start=50)),
        learning_rate=3e-2,
        deterministic=True,
    )
    return spec.model_copy(update={"method": method_of(name).resolve(linears)})


def host_of(folder: Path, base: BaseSpec, lane: Lane) -> TrainingHost:
    return TrainingHost(make_host_spec(folder, base, lane=lane))


def run(host: TrainingHost, *specs: JobSpec, attempt: int = 1, resume_from=()) -> list[Report]:
    for spec in specs:
        host.attach(make_order(spec, attempt=attempt, resume_from=resume_from))
    return drain(host)


def exported(reports: list[Report], spec: JobSpec) -> Path:
    outcome = outcome_of(reports, spec.job_id)
    assert outcome.exit_class is ExitClass.OK, outcome.message
    return Path(outcome.adapter.uri.removeprefix("file://")) / "peft"


def weights_of(reports: list[Report], spec: JobSpec) -> dict[str, torch.Tensor]:
    return load_file(exported(reports, spec) / "adapter_model.safetensors")


@every_method
def test_it_starts_from_the_seed_alone(tmp_path: Path, tiny_base: BaseSpec, name: str, lane: Lane):
    host = host_of(tmp_path, tiny_base, lane)
    host.run_once()
    spec, other = (job(tmp_path, tiny_base, name, lane, f"ftjob-{seed}", seed) for seed in (7, 8))
    first = copied(host._stepper.open(spec).weights())
    between = host._stepper.open(other)
    again = copied(host._stepper.open(spec).weights())
    assert between.weights().keys() == first.keys() == again.keys()
    assert all(torch.equal(first[key], again[key]) for key in first)


@every_method
def test_what_it_trains_is_what_its_formulas_say(tmp_path: Path, tiny_base: BaseSpec, name: str, lane: Lane):
    host, spec = host_of(tmp_path, tiny_base, lane), job(tmp_path, tiny_base, name, lane)
    host.attach(make_order(spec))
    work_to_step(host, spec.job_id, 1)
    (attempt,) = host._attempts.values()
    adapter = attempt.seat.adapter
    weights, moments = adapter.weights(), adapter.moments()
    shapes = methods.METHODS.of(spec.method).shapes(spec.method, Site.of(load(tiny_base)))
    assert {key: tuple(weight.shape) for key, weight in weights.items()} == shapes
    count = sum(weight.numel() for weight in weights.values())
    assert count == spec.method.trained(tiny_base.shape)
    held = 2 * size_of(weights) + size_of(moments)  # gradients are as large as weights
    written = size_of(weights) + size_of(moments)  # of a checkpoint, once more in host memory
    assert held + written == pytest.approx(spec.seat_bytes, rel=0.25)


SIZES: dict[str, tuple[Any, ...]] = {
    "rank": (1, 2, 7, 64, 100, 256),
    "block_size": (1, 3, 16, 64),
    "group_size": (2, 3, 16, 64),
    "blocks": (1, 2, 3, 8),
    "n_frequency": (1, 2048, 2049),
    "apply_gs": (True,),
    "n_tokens": (1, 20),
    "encoder_hidden_size": (1, 64),
}


@pytest.mark.parametrize("name", sorted(method_specs.METHODS))
def test_options_that_its_spec_takes_are_taken_by_its_library_with_the_weights_of_its_formulas(
    tiny_base: BaseSpec, name: str
):
    site, taken = Site.of(load(tiny_base)), 0
    options = {field: SIZES[field] for field in method_specs.METHODS[name].model_fields if field in SIZES}
    for chosen in product(*options.values()):
        try:
            spec = method_specs.METHODS[name].model_validate(dict(zip(options, chosen, strict=True)))
            spec = spec.resolve(tiny_base.shape.linear_names)
            spec.check(tiny_base.shape)
        except ValueError:
            continue
        shapes = methods.METHODS.of(spec).shapes(spec, site)
        assert sum(map(math.prod, shapes.values())) == spec.trained(tiny_base.shape), chosen
        taken += 1
    assert taken


@every_method
def test_it_learns_and_leaves_the_base_as_it_was(tmp_path: Path, tiny_base: BaseSpec, name: str, lane: Lane):
    host, spec = host_of(tmp_path, tiny_base, lane), job(tmp_path, tiny_base, name, lane)
    outcome = outcome_of(run(host, spec), spec.job_id)
    assert outcome.exit_class is ExitClass.OK, outcome.message
    assert outcome.eval_loss_after < outcome.eval_loss_before
    host.stop()  # raises when the base has changed


@every_method
def test_it_resumes_to_the_last_bit(tmp_path: Path, tiny_base: BaseSpec, name: str, lane: Lane):
    spec = job(tmp_path, tiny_base, name, lane)
    straight = run(host_of(tmp_path, tiny_base, lane), spec)
    saved = [as_ref(manifest) for manifest in of_job(straight, CheckpointManifest, spec.job_id)]
    whole = weights_of(straight, spec)
    resumed = run(host_of(tmp_path, tiny_base, lane), spec, attempt=2, resume_from=tuple(saved[:1]))
    assert losses(resumed, spec.job_id) == losses(straight, spec.job_id)[saved[0].step :]
    again = weights_of(resumed, spec)
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[key], again[key]) for key in whole)


@every_method
def test_a_loss_that_is_not_finite_ends_it_alone(tmp_path: Path, tiny_base: BaseSpec, name: str, lane: Lane):
    host = host_of(tmp_path, tiny_base, lane)
    sick, well = (job(tmp_path, tiny_base, name, lane, job_id) for job_id in ("sick", "well"))
    host.attach(make_order(sick))
    work_to_step(host, "sick", 1)
    (attempt,) = host._attempts.values()
    with torch.no_grad():
        next(iter(attempt.seat.adapter.weights().values())).fill_(float("nan"))
    reports = run(host, well)
    assert outcome_of(reports, "sick").error_code is ErrorCode.NON_FINITE_LOSS
    assert outcome_of(reports, "well").exit_class is ExitClass.OK


@every_method
def test_its_stock_library_loads_it_and_gives_the_seats_own_loss(
    tmp_path: Path, tiny_base: BaseSpec, name: str, lane: Lane
):
    spec = job(tmp_path, tiny_base, name, lane)
    reports = run(host_of(tmp_path, tiny_base, lane), spec)
    folder = exported(reports, spec)
    loaded = methods.METHODS.of(spec.method).load(load(tiny_base), folder)
    outcome = outcome_of(reports, spec.job_id)
    if spec.method.starts_as_base:
        assert loss_of(load(tiny_base), spec) == pytest.approx(outcome.eval_loss_before, rel=1e-5)
    assert loss_of(loaded, spec) == pytest.approx(outcome.eval_loss_after, rel=1e-5)


@pytest.mark.parametrize(("name", "quantization"), QUANTIZED)
def test_over_a_quantized_base_it_learns_and_its_stock_library_gives_the_seats_own_loss(
    tmp_path: Path, tiny_base: BaseSpec, name: str, quantization: Quantization
):
    lane = lanes_of(name)[0]
    spec = job(tmp_path, tiny_base, name, lane).model_copy(update={"quantization": quantization})
    host_spec = make_host_spec(tmp_path, tiny_base, lane=lane, quantization=quantization)
    host = TrainingHost(host_spec)
    reports = run(host, spec)
    outcome = outcome_of(reports, spec.job_id)
    assert outcome.exit_class is ExitClass.OK, outcome.message
    assert outcome.eval_loss_after < outcome.eval_loss_before
    host.stop()  # raises when the base has changed
    loaded = methods.METHODS.of(spec.method).load(load_base(host_spec).model, exported(reports, spec))
    assert loss_of(loaded.eval(), spec) == pytest.approx(outcome.eval_loss_after, rel=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_in_bf16_as_hosts_of_large_bases_compute(tmp_path: Path, tiny_base: BaseSpec, name: str):
    lane = lanes_of(name)[0]
    held = Quantization.NONE if method_of(name).refuses(Quantization.NF4) else Quantization.NF4
    changes = {"quantization": held, "compute_dtype": ComputeDtype.BF16}
    host = TrainingHost(make_host_spec(tmp_path, tiny_base, lane=lane, **changes))
    spec = job(tmp_path, tiny_base, name, lane).model_copy(update=changes)
    outcome = outcome_of(run(host, spec), spec.job_id)
    assert outcome.exit_class is ExitClass.OK, outcome.message
    assert outcome.eval_loss_after < outcome.eval_loss_before


@pytest.mark.parametrize("name", ON_LINEARS)
def test_it_refuses_what_the_base_does_not_have_with_a_message(tiny_base: BaseSpec, name: str):
    spec = method_of(name).model_copy(update={"target_modules": ("no_such_proj",)})
    with pytest.raises(ValueError, match="'no_such_proj'"):
        spec.resolve([linear.name for linear in tiny_base.shape.linears])
    with pytest.raises(InvalidTargetModules, match="no_such_proj"):
        methods.METHODS.of(spec).shapes(spec, Site.of(load(tiny_base)))


def load(base: BaseSpec) -> torch.nn.Module:
    return AutoModelForCausalLM.from_pretrained(base.location)


def size_of(tensors) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def test_a_host_of_the_solo_lane_trains_one_method_after_another_as_if_it_were_new(tmp_path: Path, tiny_base: BaseSpec):
    names = ("lora dora", "vera", "ia3", "lora dora")
    specs = [job(tmp_path, tiny_base, name, Lane.SOLO, f"ftjob-{n}") for n, name in enumerate(names)]
    host = host_of(tmp_path, tiny_base, Lane.SOLO)
    for spec in specs:
        one_of_many = weights_of(run(host, spec), spec)
        alone = weights_of(run(host_of(tmp_path, tiny_base, Lane.SOLO), spec), spec)
        assert one_of_many.keys() == alone.keys()
        assert all(torch.equal(alone[key], one_of_many[key]) for key in alone)
    assert host.poll(0).base_loads == 1
    host.stop()  # raises when the base has changed
