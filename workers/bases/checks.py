"""What a loaded base must be, whatever its files and its catalogue entry say of it."""

from collections.abc import Mapping
from typing import Any, Final

import bitsandbytes
from torch import nn

from workers.bases.blame import unusable
from workers.contract.base import LEFT_OUT, Quantization
from workers.contract.spec import HostSpec
from workers.methods.linears import adaptable_linears, decoder_to_name, last_names
from workers.tasks import TASKS

QUANTIZED: Final = (bitsandbytes.nn.Params4bit, bitsandbytes.nn.Int8Params)
SHOWN: Final = 8  # names in a message


def require_complete(spec: HostSpec, loading: Mapping[str, Any]) -> None:
    """The files hold every weight: transformers makes up what they lack, at random. Raises: BaseUnusable."""
    missing = sorted(loading.get("missing_keys", ()))
    if missing:
        raise unusable(spec, f"its files lack {len(missing)} weight(s), the first is {missing[0]}")


def require_as_asked(spec: HostSpec, model: Any) -> None:
    """The model learns the task, is held in the precision asked for, and has the linears on offer.

    Raises: BaseUnusable.
    """
    if why := TASKS.of(spec.task).unfit(model):
        raise unusable(spec, why)
    if spec.quantization is not Quantization.NONE:
        _require_quantized(spec, model)
    _require_linears(spec, model)


def _require_quantized(spec: HostSpec, model: Any) -> None:
    """Quantization finds linears alone: experts that are one stacked tensor stay as they are, and with them most of the
    memory that was to be saved.
    """
    decoder: nn.Module = model.get_decoder()
    embeddings = {id(module.weight) for module in decoder.modules() if isinstance(module, nn.Embedding)}
    rest = [weight for weight in decoder.parameters() if weight.ndim >= 2 and id(weight) not in embeddings]
    plain = sum(weight.numel() for weight in rest if not isinstance(weight, QUANTIZED))
    held = (bitsandbytes.nn.Linear4bit, bitsandbytes.nn.Linear8bitLt)
    quantized = sum(each.in_features * each.out_features for each in decoder.modules() if isinstance(each, held))
    if plain > LEFT_OUT * (plain + quantized):
        share = f"{plain / (plain + quantized):.0%} of its layers' weights"
        raise unusable(spec, f"{share}, such as stacked experts, cannot be quantized; offer it as 'none' only")


def _require_linears(spec: HostSpec, model: Any) -> None:
    names = last_names(adaptable_linears(model))
    if unknown := sorted(set(spec.target_modules) - names):
        has = ", ".join(sorted(names)[:SHOWN])
        raise unusable(spec, f"the entry's target_modules name {unknown[0]}, which it lacks; it has {has}")
    path = decoder_to_name(model)
    if path is not None and path != spec.base.shape.decoder:
        raise unusable(
            spec, f"it has such linears outside its decoder too; write `decoder: {path}` in the entry's shape"
        )
