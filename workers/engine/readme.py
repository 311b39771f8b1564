"""The README of an adapter's folder: what it is, and code that evaluates it as its job did. Pure text."""

from typing import Final

from workers.contract.base import ComputeDtype, Quantization
from workers.contract.base_snippet import base_folder
from workers.contract.rows import DatasetFormat
from workers.contract.spec import JobSpec, Overlength
from workers.data.chat import marks_turns

_DTYPES: Final = {ComputeDtype.BF16: "torch.bfloat16", ComputeDtype.FP32: "torch.float32"}
_NF4_ON_CPU: Final = """\
On CPUs with AVX512-BF16, bitsandbytes repacks 4-bit weights at the first forward of a base that is not being trained.
A later `state_dict()`, which `PeftModel.from_pretrained` calls, puts their scales back in a wrong order: every loss
after that is off, by tenths. So the code above forbids the repacking before anything else runs.

"""
_KEEP_4BIT: Final = """
for module in base.modules():  # before its first forward; the reason is below
    if hasattr(module, "support_avx512bf16_for_cpu"):
        module.support_avx512bf16_for_cpu = False
"""
_MARKED_CHAT: Final = '''\
def tokens(row):
    """Token ids, and which of them carry loss: those that the chat template marks as generated."""
    coded = tokenizer.apply_chat_template(
        row["messages"], tools=row.get("tools"), return_dict=True, return_assistant_tokens_mask=True
    )
    return coded["input_ids"], coded["assistant_masks"]
'''
_CHAT: Final = '''\
def tokens(row):
    """Token ids, and which of them carry loss: those of the assistant's turns."""

    def text(messages, **options):
        return tokenizer.apply_chat_template(messages, tools=row.get("tools"), tokenize=False, **options)

    messages = row["messages"]
    turns = [
        (len(text(messages[:number], add_generation_prompt=True)), len(text(messages[: number + 1])))
        for number, message in enumerate(messages)
        if message["role"] == "assistant" and message.get("weight") != 0
    ]
    coded = tokenizer(text(messages), add_special_tokens=False, return_offsets_mapping=True)
    return coded["input_ids"], [any(a <= first < b for a, b in turns) for first, _ in coded["offset_mapping"]]
'''
_BEGIN: Final = """
    {name} = tokenizer(row["{name}"])["input_ids"]
    if {name} and {name}[-1] == tokenizer.eos_token_id:
        {name} = {name}[:-1]
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]"""
_COMPLETION: Final = f'''\
def tokens(row):
    """Token ids, and which of them carry loss: those of the completion."""{_BEGIN.format(name="prompt")}
    completion = tokenizer(row["completion"], add_special_tokens=False)["input_ids"] + end
    return prompt + completion, [False] * len(prompt) + [True] * len(completion)
'''
_TEXT: Final = f'''\
def tokens(row):
    """Token ids, which all carry loss."""{_BEGIN.format(name="text")}
    return text + end, [True] * len(text + end)
'''


def adapter_readme(spec: JobSpec, steps: int, template: str | None) -> str:
    """The text, for the weights after `steps` steps. `template`: the exported tokenizer's chat template."""
    facts = ", ".join(f"{name} {value}" for name, value in spec.method.facts().items())
    return (
        f"---\nbase_model: {spec.base.location}\nlibrary_name: peft\n---\n\n"
        f"# {spec.method.title} adapter of job {spec.job_id}\n\n"
        f"{facts or spec.method.title}; {steps} steps on base "
        f"`{spec.base.id}` held as {spec.quantization.value} with {spec.compute_dtype.value} arithmetic.\n\n"
        "Run this in the downloaded folder, the one that holds `peft`. It loads base and adapter as the job had them\n"
        "and prints the losses of the rows in `ROWS`, before and after training, as the job reports them.\n\n"
        f"```python\n{_program(spec, template)}```\n\n"
        f"{_NF4_ON_CPU if spec.quantization is Quantization.NF4 else ''}"
        "To use it alone: `PeftModel.from_pretrained(base, folder)`, over the base in any precision.\n"
    )


def _program(spec: JobSpec, template: str | None) -> str:
    quantized = spec.quantization is not Quantization.NONE
    return f"""\
import json

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer{", BitsAndBytesConfig" if quantized else ""}

{base_folder(spec.base)}
ROWS = "validation.jsonl"  # the job's validation file, as `orchard files convert` writes it, or other rows

{_load(spec)}tokenizer = AutoTokenizer.from_pretrained("components/tokenizer")


{_tokens(spec.data.training.format, template)}

def loss(model):
    \"\"\"The mean over all tokens that carry loss, in nats.\"\"\"
    total, count = 0.0, 0
    for line in filter(str.strip, open(ROWS, encoding="utf-8")):
        ids, mask = tokens(json.loads(line))
{_cut(spec)}        ids, mask = torch.tensor([ids], device=model.device), torch.tensor(mask[1:]).bool()
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, :-1].float()[mask]
        total += torch.nn.functional.cross_entropy(logits, ids[0, 1:][mask], reduction="sum").item()
        count += len(logits)
    return total / count


print("before", loss(base))
model = PeftModel.from_pretrained(base, "peft")
print("after", loss(model))
"""


def _load(spec: JobSpec) -> str:
    dtype = _DTYPES[spec.compute_dtype]
    load = f"base = AutoModelForCausalLM.from_pretrained(BASE, dtype={dtype}"
    match spec.quantization:
        case Quantization.NF4:
            form = f'load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype={dtype}'
            return f"nf4 = BitsAndBytesConfig({form})\n{load}, quantization_config=nf4){_KEEP_4BIT}"
        case Quantization.INT8:
            return f"int8 = BitsAndBytesConfig(load_in_8bit=True)\n{load}, quantization_config=int8)\n"
        case Quantization.NONE:
            return f"{load})\n"


def _tokens(format: DatasetFormat, template: str | None) -> str:
    match format:
        case DatasetFormat.CHAT:
            return _MARKED_CHAT if template is not None and marks_turns(template) else _CHAT
        case DatasetFormat.PROMPT_COMPLETION:
            return _COMPLETION
        case _:
            return _TEXT


def _cut(spec: JobSpec) -> str:
    """What the job did with rows that are too long."""
    longest = spec.data.max_seq_len
    match spec.data.overlength:
        case Overlength.TRUNCATE:
            return f"        ids, mask = ids[:{longest}], mask[:{longest}]  # as the job cut them\n"
        case Overlength.DROP:
            return f"        if len(ids) > {longest}:\n            continue  # the job dropped it\n"
        case _:
            return ""
