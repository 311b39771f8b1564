"""Where the time of a peer's steps goes, by phase.

An operation belongs to the nearest of: what its name or its operands' shapes say (a product with a base weight is base,
one with the output head is loss, any other product is adapters), the module that was running, and for a backward
operation the module whose forward made its node. Time outside all operations is Python's and autograd's own.
"""

import gc
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final

import bitsandbytes
from peft.tuners.lora import LoraLayer
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from tests.bench.peers import Peer
from tests.bench.peers.peer import TRAINING
from tests.bench.workloads import Job, shortened

PHASES: Final = ("base", "adapters", "attention", "loss", "optimizer", "other", "python")
JOB_STEPS: Final = 8  # thousands of events each
PRODUCTS: Final = frozenset(
    {"mm", "addmm", "bmm", "baddbmm", "baddbmm_", "matmul", "linear", "_grouped_mm", "mkldnn_linear"}
)
BACKWARD: Final = "autograd::engine::evaluate_function"
BY_NAME: Final = (  # the first part found in a name decides
    ("FrozenHeadNll", "loss"),
    ("cross_entropy", "loss"),
    ("nll_loss", "loss"),
    ("log_softmax", "loss"),
    ("Optimizer.", "optimizer"),
    ("_foreach_", "optimizer"),
    ("_fused_adam", "optimizer"),
    ("scaled_dot_product", "attention"),
    ("dequantize", "base"),
    ("bitsandbytes::", "base"),
)
Shapes = Mapping[tuple[int, int], str]


def profile_phases(peer: Peer, jobs: Sequence[Job]) -> dict[str, Any]:
    """Share of the training wall by phase.

    The wall is taken without the profiler, which slows Python most; operations are timed with it. So `python`, the
    rest, errs on the low side (and is zero where a busy machine slowed the profiled run); `non_compute_at_most` is the
    rest of the profiled wall.
    """
    if peer.base is None:
        raise ValueError("a peer without a resident base runs elsewhere and cannot be profiled")
    model = peer.base.model
    few = shortened(jobs, max(1, JOB_STEPS // len(jobs)))
    peer.run(few)
    plain_s = peer.run(few).train_s
    with _annotated(model), profile(activities=[ProfilerActivity.CPU], record_shapes=True) as recorded:
        run = peer.run(few)
    busy, top = _by_phase(recorded.events(), _shapes(model))
    del recorded
    gc.collect()  # events know parents and children, and there are gigabytes of them
    busy["python"] = max(0.0, plain_s * 1e6 - sum(busy.values()))
    operating = sum(share for phase, share in busy.items() if phase != "python")
    wall = sum(busy.values())
    shares = {phase: round(busy[phase] / wall, 4) for phase in PHASES}
    slowest = {name: round(spent / wall, 4) for name, spent in top.most_common(12)}
    times = {"wall_s": round(plain_s, 4), "profiled_wall_s": round(run.train_s, 4)}
    bounds = {
        "non_compute": shares["python"],
        "non_compute_at_most": round(max(0.0, 1 - operating / 1e6 / run.train_s), 4),
    }
    return {"shares": shares, **bounds, **times, "operations": slowest}


@contextmanager
def _annotated(model: nn.Module) -> Iterator[None]:
    """Every linear, adapter layer and attention of `model` says when it runs."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    open_ranges: list[Any] = []

    def leave(*_: Any) -> None:
        open_ranges.pop().__exit__(None, None, None)

    with ExitStack() as hooks:
        for module in model.modules():
            phase = "loss" if module is head else _module_phase(module)
            if phase is not None:

                def enter(*_: Any, phase: str = phase) -> None:
                    open_ranges.append(record_function(phase).__enter__())  # type: ignore[no-untyped-call]

                hooks.callback(module.register_forward_pre_hook(enter).remove)
                hooks.callback(module.register_forward_hook(leave, always_call=True).remove)
        yield


def _module_phase(module: nn.Module) -> str | None:
    if isinstance(module, LoraLayer) or type(module).__module__.startswith("workers."):
        return "adapters"
    if isinstance(module, nn.Linear | bitsandbytes.nn.Linear4bit) and not hasattr(module, "lora_A"):
        return "base" if min(module.in_features, module.out_features) > 256 or _is_quantized(module) else None
    return "attention" if type(module).__name__.endswith("Attention") else None


def _is_quantized(module: nn.Module) -> bool:
    return isinstance(module, bitsandbytes.nn.Linear4bit | bitsandbytes.nn.Linear8bitLt)


def _shapes(model: nn.Module) -> Shapes:
    """Both orientations of every frozen weight, and whose it is."""
    head = model.get_output_embeddings()  # type: ignore[operator]
    shapes: dict[tuple[int, int], str] = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and ".lora_" not in name:
            size = (module.in_features, module.out_features)
            owner = "loss" if module is head else "base"
            shapes |= {size: owner, size[::-1]: owner}
    return shapes


def _by_phase(events: Sequence[Any], shapes: Shapes) -> tuple[dict[str, float], Counter[str]]:
    """Microseconds of operations by phase, and by `phase operation`, within the training ranges."""
    spans = [event.time_range for event in events if event.name == TRAINING]
    inside = [e for e in events if any(s.start <= e.time_range.start and e.time_range.end <= s.end for s in spans)]
    inside.sort(key=lambda event: event.time_range.start)
    born: dict[int, str] = {}
    for event in inside:
        if event.sequence_nr >= 0 and _backward_of(event) is None:
            born[event.sequence_nr] = _running(event)
    busy = dict.fromkeys(PHASES, 0.0)
    top: Counter[str] = Counter()
    for event in inside:
        if "::" in event.name and not event.name.startswith(BACKWARD):
            phase = _phase(event, shapes, born)
            busy[phase] += event.self_cpu_time_total
            top[f"{phase} {event.name}"] += event.self_cpu_time_total
    return busy, top


def _phase(event: Any, shapes: Shapes, born: Mapping[int, str]) -> str:
    for node in _upwards(event):
        named = next((phase for part, phase in BY_NAME if part in node.name), None)
        if named is not None:
            return named
        if node.name in PHASES:
            break
    product = next((node for node in _upwards(event) if node.name.removeprefix("aten::") in PRODUCTS), None)
    if product is not None and (owner := _owner(product, shapes)) is not None:
        return owner
    backward = _backward_of(event)
    return _running(event) if backward is None else born.get(backward.sequence_nr, "other")


def _owner(product: Any, shapes: Shapes) -> str | None:
    """Whose weight is multiplied; None for a name around the product proper, whose shapes are not recorded."""
    operands = [tuple(shape[-2:]) for shape in product.input_shapes or () if shape and len(shape) >= 2]
    if len(operands) < 2:
        return None
    return next((shapes[operand] for operand in operands if operand in shapes), "adapters")


def _running(event: Any) -> str:
    return next((node.name for node in _upwards(event) if node.name in PHASES), "other")


def _backward_of(event: Any) -> Any:
    return next((node for node in _upwards(event) if node.name.startswith(BACKWARD)), None)


def _upwards(event: Any) -> Iterator[Any]:
    while event is not None:
        yield event
        event = event.cpu_parent
