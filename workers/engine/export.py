"""The finished adapter: a plain PEFT folder and the tokenizer, in the layout of MLflow's transformers flavor."""

import hashlib
from pathlib import Path
from typing import Final

from workers.bases import LoadedBase
from workers.contract.reports import AdapterManifest
from workers.contract.spec import JobSpec, SeatAssignment
from workers.data.chat import marked_twin
from workers.engine.readme import TRAINING_TEMPLATE, adapter_readme
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
        template = TASKS.of(spec.task).export(base.tokenizer, spec.base, folder / "components" / "tokenizer")
        _write_adapter(spec, result, template, folder / "peft")
        if template and (marked := marked_twin(template)) not in (None, template):
            (folder / TRAINING_TEMPLATE).write_text(str(marked), encoding="utf-8")
        files = digest_folder(folder)
        manifest = AdapterManifest(
            uri=uri,
            files=files,
            adapter_sha256=next(file.sha256 for file in files if file.path == WEIGHTS),
            base_digest=base.digest,
            chat_template_sha256=hashlib.sha256(template.encode()).hexdigest() if template else None,
            chat_template_kwargs=spec.data.chat_template_kwargs,
        )
        (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2))
        publish_folder(folder, uri, last=MANIFEST)
    return manifest


def _write_adapter(spec: JobSpec, result: BestWeights, template: str | None, folder: Path) -> None:
    folder.mkdir(parents=True)
    METHODS.of(spec.method).export(spec, result.weights, folder)
    (folder / "README.md").write_text(adapter_readme(spec, result.step, template))
