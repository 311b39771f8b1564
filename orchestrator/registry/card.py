"""The adapter's model card in the registry: what it is and how to load it. Pure."""

from orchestrator.registry.port import Publication, VersionPlace
from orchestrator.registry.provenance import datasets
from workers.contract.base import Quantization
from workers.contract.base_snippet import base_folder


def how_to_load(publication: Publication, place: VersionPlace) -> str:
    """Python that loads the version at `place` with PEFT and as a transformers pipeline, whatever came after it."""
    quantization = publication.spec.quantization
    trained = "" if quantization is Quantization.NONE else f"  # trained on {quantization}; load it in any precision"
    return f"""\
import mlflow
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

mlflow.set_tracking_uri({place.address!r})
mlflow.set_workspace({place.workspace!r})

{base_folder(publication.spec.base, publication.base_path)}
folder = mlflow.artifacts.download_artifacts({place.model_uri!r})
base = AutoModelForCausalLM.from_pretrained(BASE){trained}
model = PeftModel.from_pretrained(base, f"{{folder}}/peft")
tokenizer = AutoTokenizer.from_pretrained(f"{{folder}}/components/tokenizer")

# or, as a pipeline:
pipeline = mlflow.transformers.load_model({place.model_uri!r}, base_model_path=BASE)
"""


def model_card(publication: Publication, place: VersionPlace) -> str:
    """The description of the version at `place`."""
    spec = publication.spec
    facts = ", ".join(f"{name} {value}" for name, value in spec.method.facts().items())
    lines = [
        f"# {publication.fine_tuned_model}",
        "",
        f"{spec.method.title} adapter{f' ({facts})' if facts else ''} for `{spec.base.id}` "
        f"held in `{spec.quantization}`, trained by job `{publication.job_id}`.",
        "",
        "| | |",
        "|---|---|",
        f"| evaluation loss before | {_loss(publication.eval_loss_before)} |",
        f"| evaluation loss after | {_loss(publication.eval_loss_after)} |",
        f"| base | `{spec.base.source}`{f' at `{spec.base.revision}`' if spec.base.revision else ''} |",
        f"| base sha256 | `{publication.manifest.base_digest}` |",
        f"| license of the base | {publication.base_license or 'not recorded'} |",
        f"| adapter sha256 | `{publication.manifest.adapter_sha256}` |",
        *(
            f"| {use} data | `{data.file_id}`, {data.rows} rows, sha256 `{data.sha256}` |"
            for use, data in datasets(publication).items()
        ),
        "",
        "## How to load it",
        "",
        "```python",
        how_to_load(publication, place).rstrip(),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _loss(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"
