"""The finished adapter: a plain PEFT folder and the tokenizer, in the layout of MLflow's transformers flavor."""

import hashlib
from pathlib import Path
from typing import Final

from workers.bases import LoadedBase
from workers.contract.reports import AdapterManifest
from workers.contract.spec import JobSpec, SeatAssignment
from workers.engine.stopping import BestWeights
from workers.methods import METHODS
from workers.storage import child, digest_folder, publish_folder, scratch
from workers.tasks import TASKS

MANIFEST: Final = "manifest.json"
WEIGHTS: Final = "peft/adapter_model.safetensors"


def publish_adapter(assignment: SeatAssignment, result: BestWeights, base: LoadedBase) -> AdapterManifest:
    """Write `<output_uri>/a<attempt>/adapter/`: `peft/`, `components/tokenizer/`, `manifest.json`.

    Raises StorageUnavailable.
    """
    spec = assignment.spec
    uri = child(spec.output_uri, f"a{assignment.attempt}", "adapter")
    with scratch("adapter") as folder:
        _write_adapter(spec, result, folder / "peft")
        template = TASKS.of(spec.task).export(base.tokenizer, spec.base, folder / "components" / "tokenizer")
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


def _write_adapter(spec: JobSpec, result: BestWeights, folder: Path) -> None:
    folder.mkdir(parents=True)
    METHODS.of(spec.method).export(spec, result.weights, folder)
    (folder / "README.md").write_text(_card(spec, result.step))


def _card(spec: JobSpec, steps: int) -> str:
    numbers = ", ".join(f"{name} {value}" for name, value in spec.method.facts().items())
    return (
        f"---\nbase_model: {spec.base.location}\nlibrary_name: peft\n---\n\n"
        f"# {spec.method.title} adapter of job {spec.job_id}\n\n"
        f"{numbers or spec.method.title}; {steps} steps on base "
        f"`{spec.base.id}` held as {spec.quantization.value} with {spec.compute_dtype.value} arithmetic.\n\n"
        "```python\nmodel = PeftModel.from_pretrained(base, folder)\n```\n"
    )
