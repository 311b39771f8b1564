"""The finished adapter: a plain PEFT folder and the tokenizer, laid out as MLflow's transformers flavour keeps them."""

import copy
import hashlib
from pathlib import Path
from typing import Any, Final

from safetensors.torch import save_file

from workers.bases import LoadedBase
from workers.contract.base import BaseSpec
from workers.contract.reports import AdapterManifest
from workers.contract.spec import JobSpec, SeatOrder
from workers.engine.lora import lora_config
from workers.engine.stopping import Milestone
from workers.storage import child, digest_folder, publish_folder, scratch

MANIFEST: Final = "manifest.json"
WEIGHTS: Final = "peft/adapter_model.safetensors"


def publish_adapter(order: SeatOrder, result: Milestone, base: LoadedBase) -> AdapterManifest:
    """Write `<output_uri>/a<attempt>/adapter/`: `peft/`, `components/tokenizer/`, `manifest.json`.

    Raises StorageUnavailable.
    """
    spec = order.spec
    uri = child(spec.output_uri, f"a{order.attempt}", "adapter")
    with scratch("adapter") as folder:
        _write_peft(spec, result, folder / "peft")
        template = _write_tokenizer(base.tokenizer, spec.base, folder / "components" / "tokenizer")
        files = digest_folder(folder)
        manifest = AdapterManifest(
            uri=uri,
            files=files,
            adapter_sha256=next(file.sha256 for file in files if file.path == WEIGHTS),
            base_digest=base.digest,
            chat_template_sha256=hashlib.sha256(template.encode()).hexdigest() if template else None,
        )
        (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2))
        publish_folder(folder, uri, last=MANIFEST)
    return manifest


def _write_peft(spec: JobSpec, result: Milestone, folder: Path) -> None:
    folder.mkdir(parents=True)
    config = lora_config(spec.method)
    config.inference_mode = True
    config.base_model_name_or_path = spec.base.location
    config.revision = spec.base.revision
    config.save_pretrained(folder)
    weights = {name: weight.contiguous() for name, weight in result.weights.items()}
    save_file(weights, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    (folder / "README.md").write_text(_card(spec, result.step))


def _write_tokenizer(tokenizer: Any, base: BaseSpec, folder: Path) -> str | None:
    """Save the tokenizer with the chat template the rows were rendered with, and return that template."""
    own = copy.copy(tokenizer)  # shares the vocabulary, but not the template, with the thread that tokenises
    own.chat_template = base.chat_template or tokenizer.chat_template
    own.save_pretrained(folder)
    template: str | None = own.chat_template
    return template


def _card(spec: JobSpec, steps: int) -> str:
    method = spec.method
    return (
        f"---\nbase_model: {spec.base.location}\nlibrary_name: peft\n---\n\n"
        f"# LoRA adapter of job {spec.job_id}\n\n"
        f"Rank {method.rank}, alpha {method.alpha:g}, on {', '.join(method.target_modules)}; {steps} steps on base "
        f"`{spec.base.id}` held as {spec.quantization.value} with {spec.compute_dtype.value} arithmetic.\n\n"
        "```python\nmodel = PeftModel.from_pretrained(base, folder)\n```\n"
    )
