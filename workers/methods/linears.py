"""The linears of a base that a method may adapt, whatever its architecture and quantization."""

from collections.abc import Mapping, Sequence
from typing import Final

from torch import nn
from transformers.pytorch_utils import Conv1D

from workers.contract.errors import InvalidTargetModules

PREFIX: Final = "base_model.model."
"""What PEFT puts before a module's path in the names of weights."""


def adaptable_linears(model: nn.Module) -> dict[str, nn.Module]:
    """Linears by path that an adapter may sit on: all but the output head, which the loss needs frozen."""
    head = model.get_output_embeddings()  # type: ignore[operator]  # every causal language model has it
    linears = ((name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear | Conv1D))
    return {name: module for name, module in linears if module is not head}


def chosen_linears(names: Sequence[str], linears: Mapping[str, nn.Module]) -> list[str]:
    """The paths whose last part is one of `names`, in the base's order.

    Raises: InvalidTargetModules when the base has no linear of one of the names.
    """
    wanted, known = set(names), {path.rpartition(".")[2] for path in linears}
    if unknown := sorted(wanted - known):
        raise InvalidTargetModules(
            f"the base has no linear named {', '.join(unknown)}; it has {', '.join(sorted(known))}"
        )
    return [path for path in linears if path.rpartition(".")[2] in wanted]


def features_of(linear: nn.Module) -> tuple[int, int]:
    """(in, out) of a linear, however it stores its weight."""
    if isinstance(linear, Conv1D):
        return int(linear.weight.shape[0]), int(linear.nf)
    return int(linear.in_features), int(linear.out_features)  # type: ignore[arg-type]  # every other one is nn.Linear
