"""The page of an adapter in the registry: what it is and how to load it. Pure: publication in, Markdown out."""

from orchestrator.registry.port import Publication
from orchestrator.registry.provenance import datasets
from workers.contract.base import BaseSpec, Quantization


def how_to_load(name: str, base: BaseSpec, quantization: Quantization, alias: str = "candidate") -> str:
    """Python that loads the adapter in its three ways; `BASE` is where the reader keeps the base's weights."""
    revision = f", revision={base.revision!r}" if base.revision else ""
    trained = "" if quantization is Quantization.NONE else f"  # trained on {quantization}; 16 bit works as well"
    return f"""\
import mlflow
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

BASE = {base.location!r}  # or your own copy of {base.id}
folder = mlflow.artifacts.download_artifacts("models:/{name}@{alias}")
base = AutoModelForCausalLM.from_pretrained(BASE{revision}){trained}
model = PeftModel.from_pretrained(base, f"{{folder}}/peft")
tokenizer = AutoTokenizer.from_pretrained(f"{{folder}}/components/tokenizer")

# or, as a transformers pipeline, with the base in a local folder:
pipeline = mlflow.transformers.load_model("models:/{name}@{alias}", base_model_path=BASE)
"""


def model_card(publication: Publication) -> str:
    """The description of a version."""
    spec = publication.spec
    lines = [
        f"# {publication.fine_tuned_model}",
        "",
        f"{spec.method.type.upper()} adapter (rank {spec.method.rank}, alpha {spec.method.alpha:g}) for "
        f"`{spec.base.id}` held in `{spec.quantization}`, trained by job `{publication.job_id}`.",
        "",
        "| | |",
        "|---|---|",
        f"| evaluation loss before | {_loss(publication.eval_loss_before)} |",
        f"| evaluation loss after | {_loss(publication.eval_loss_after)} |",
        f"| base | `{spec.base.source}`{f' at `{spec.base.revision}`' if spec.base.revision else ''} |",
        f"| base sha256 | `{publication.manifest.base_digest}` |",
        f"| licence of the base | {publication.base_licence or 'not recorded'} |",
        f"| adapter sha256 | `{publication.manifest.adapter_sha256}` |",
        *(
            f"| {use} data | `{data.file_id}`, {data.rows} rows, sha256 `{data.sha256}` |"
            for use, data in datasets(publication).items()
        ),
        "",
        "## How to load it",
        "",
        "```python",
        how_to_load(publication.name, spec.base, spec.quantization).rstrip(),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _loss(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.4f}"
