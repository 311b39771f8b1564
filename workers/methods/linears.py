"""The linears of a base that a method may adapt, whatever its architecture and quantization."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from torch import nn
from transformers.pytorch_utils import Conv1D

from workers.contract.errors import InvalidTargetModules

PREFIX: Final = "base_model.model."
"""What PEFT puts before a module's path in the names of weights."""


def adaptable_linears(model: nn.Module) -> dict[str, nn.Module]:
    """Linears by path that an adapter may sit on: those of the decoder. Not the output head, which the loss needs
    frozen, nor a vision tower, which rows of text give no gradient.
    """
    inside = _inside(decoder_path(model))
    return {path: module for path, module in _linears(model) if path.startswith(inside)}


def decoder_path(model: Any) -> str:
    """Where in the model its decoder is; empty: it is the decoder itself."""
    decoder = model.get_decoder()
    return next(str(path) for path, module in model.named_modules() if module is decoder)


def decoder_to_name(model: nn.Module) -> str | None:
    """The decoder's path, where the last name parts of its linears alone would also match linears outside it."""
    path = decoder_path(model)
    inside = _inside(path)
    outside = last_names(each for each, _ in _linears(model) if not each.startswith(inside))
    return path if outside & last_names(adaptable_linears(model)) else None


def last_names(paths: Iterable[str]) -> set[str]:
    """The last parts of the paths, by which users name linears."""
    return {_last(path) for path in paths}


def chosen_linears(names: Sequence[str], linears: Mapping[str, nn.Module]) -> list[str]:
    """The paths whose last part is one of `names`, in the base's order.

    Raises: InvalidTargetModules when the base has no linear of one of the names.
    """
    wanted, known = set(names), last_names(linears)
    if unknown := sorted(wanted - known):
        raise InvalidTargetModules(
            f"the base has no linear named {', '.join(unknown)}; it has {', '.join(sorted(known))}"
        )
    return [path for path in linears if _last(path) in wanted]


def features_of(linear: nn.Module) -> tuple[int, int]:
    """(in, out) of a linear, however it stores its weight."""
    if isinstance(linear, Conv1D):
        return int(linear.weight.shape[0]), int(linear.nf)
    return int(linear.in_features), int(linear.out_features)  # type: ignore[arg-type]  # every other one is nn.Linear


def _linears(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """All but the output head."""
    head = model.get_output_embeddings()  # type: ignore[operator]  # every causal language model has it
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear | Conv1D) and module is not head:
            yield path, module


def _inside(path: str) -> str:
    return f"{path}." if path else ""


def _last(path: str) -> str:
    return path.rpartition(".")[2]
