"""The README of an adapter's folder: what it is, and code that evaluates it as its job did. Pure text."""

from collections.abc import Mapping
from typing import Final

from workers.contract.base import ComputeDtype, Quantization
from workers.contract.base_snippet import base_folder
from workers.contract.methods.on_linears import OnLinears
from workers.contract.rows import DatasetFormat
from workers.contract.spec import JobSpec, Overlength, SpecialTokens
from workers.data.chat import marked_twin

TRAINING_TEMPLATE: Final = "peft/training_chat_template.jinja"
"""The template that marks the turns of the rows, in the folder of an adapter whose own template does not."""
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
_TUNER_IMPORT: Final = "from peft.tuners.tuners_utils import BaseTunerLayer\n"
_KEEP_TYPES: Final = """\
for module in model.modules():  # adapters are fp32, the base is bf16, and attention takes no mixture
    if isinstance(module, BaseTunerLayer):
        module.register_forward_hook(lambda _, inputs, output: output.to(inputs[0].dtype))
"""
_CONVERSATION: Final = '''\
def conversation(row):
    """The messages as chat templates take them, and what each of the assistant's counts for in the loss."""
    messages = [{name: value for name, value in message.items() if value is not None} for message in row["messages"]]
    weights = [message.pop("weight", 1) for message in messages]
    for message in messages:
        message.setdefault("content", "")
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
    return messages, [own for own, message in zip(weights, messages) if message["role"] == "assistant"]
'''
_MARKED_CHAT: Final = f'''\
{_CONVERSATION}

def tokens(row):
    """Token ids, and what each counts for in the loss: the chat template marks the assistant's turns."""
    messages, weights = conversation(row)
    coded = tokenizer.apply_chat_template(
        messages, tools=row.get("tools"), return_dict=True, return_assistant_tokens_mask=True
    )
    turn, marks, counted = -1, coded["assistant_masks"], []
    for place, marked in enumerate(marks):
        turn += bool(marked and not (place and marks[place - 1]))
        counted.append(weights[min(turn, len(weights) - 1)] if marked else 0)
    return coded["input_ids"], counted
'''
_CHAT: Final = f'''\
{_CONVERSATION}

def tokens(row):
    """Token ids, and what each counts for in the loss: those of the assistant's turns."""

    def text(messages, **options):
        return tokenizer.apply_chat_template(messages, tools=row.get("tools"), tokenize=False, **options)

    messages, weights = conversation(row)
    places = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    turns = [
        (len(text(messages[:number], add_generation_prompt=True)), len(text(messages[: number + 1])), weight)
        for number, weight in zip(places, weights)
    ]
    coded = tokenizer(text(messages), add_special_tokens=False, return_offsets_mapping=True)
    counted = [sum(weight for a, b, weight in turns if a <= first < b) for first, _ in coded["offset_mapping"]]
    return coded["input_ids"], counted
'''
_AROUND: Final = '''\
letter, whole = tokenizer("a", add_special_tokens=False)["input_ids"], tokenizer("a")["input_ids"]
at = next(n for n in range(len(whole)) if whole[n : n + len(letter)] == letter)
begin, end = whole[:at], whole[at + len(letter) :]  # what the tokenizer puts around a text
bos, eos = tokenizer.bos_token, tokenizer.eos_token
if eos and tokenizer.eos_token_id not in end:
    end = end + [tokenizer.eos_token_id]


def opened(text):
    """The text without the BOS that it begins with, and what the row begins with: BOS is there once."""
    if bos and text.startswith(bos):
        return text.removeprefix(bos), begin or [tokenizer.bos_token_id]
    return text, begin


def closed(text):
    """The text without the EOS that it ends in: EOS is there once."""
    ended = text.rstrip("\\r\\n")
    return ended.removesuffix(eos) if eos and ended.endswith(eos) else text


def coded(text, **options):
    return tokenizer(text, add_special_tokens=False, split_special_tokens={plain}, **options)
'''
_COMPLETION: Final = f'''\
{_AROUND}

def tokens(row):
    """Token ids, and which of them carry loss: those of the completion, and the one that holds its first character."""
    (prompt, start), completion = opened(row["prompt"]), closed(row["completion"])
    ids = coded(prompt + completion)["input_ids"]
    if tokenizer.is_fast:
        spans = coded(prompt + completion, return_offsets_mapping=True)["offset_mapping"]
        before = sum(last <= len(prompt) for _, last in spans)
    else:
        own = coded(prompt)["input_ids"]
        before = next((n for n, pair in enumerate(zip(ids, own)) if pair[0] != pair[1]), min(len(ids), len(own)))
    learned = [False] * (len(start) + before) + [True] * (len(ids) - before + len(end))
    return start + ids + end, learned
'''
_TEXT: Final = f'''\
{_AROUND}

def tokens(row):
    """Token ids, which all carry loss."""
    text, start = opened(row["text"])
    ids = coded(closed(text))["input_ids"] + end
    return start + ids, [False] * len(start) + [True] * len(ids)
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
{_TUNER_IMPORT if _mixes_types(spec) else ""}\
from transformers import AutoModelForCausalLM, AutoTokenizer{", BitsAndBytesConfig" if quantized else ""}

{base_folder(spec.base)}
ROWS = "validation.jsonl"  # the job's validation file, as `orchard files convert` writes it, or other rows

{_load(spec)}tokenizer = AutoTokenizer.from_pretrained("components/tokenizer")


{_tokens(spec, template)}

def loss(model):
    \"\"\"The mean over all tokens that carry loss, each as often as it counts, in nats.\"\"\"
    total, count = 0.0, 0.0
    for line in filter(str.strip, open(ROWS, encoding="utf-8")):
        ids, weights = tokens(json.loads(line))
{_cut(spec)}        ids, weights = (torch.tensor(part, device=model.device) for part in ([ids], weights[1:]))
        mask, weights = weights > 0, weights.float()
        with torch.no_grad():
            logits = model(input_ids=ids).logits[0, -ids.shape[1] : -1].float()[mask]
        nll = torch.nn.functional.cross_entropy(logits, ids[0, 1:][mask], reduction="none")
        total += (nll @ weights[mask]).item()
        count += weights[mask].sum().item()
    return total / count


print("before", loss(base))
model = PeftModel.from_pretrained(base, "peft")
{_KEEP_TYPES if _mixes_types(spec) else ""}print("after", loss(model))
"""


def _mixes_types(spec: JobSpec) -> bool:
    """Whether a tuner of PEFT may answer in fp32 where the base computes in bf16. That of LoRA does not."""
    return spec.compute_dtype is ComputeDtype.BF16 and isinstance(spec.method, OnLinears) and spec.method.type != "lora"


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


def _tokens(spec: JobSpec, template: str | None) -> str:
    plain = str(spec.data.special_tokens is SpecialTokens.PLAIN)
    match spec.data.training.format:
        case DatasetFormat.CHAT:
            return _chat(template, spec.data.chat_template_kwargs)
        case DatasetFormat.PROMPT_COMPLETION:
            return _COMPLETION.replace("{plain}", plain)
        case _:
            return _TEXT.replace("{plain}", plain)


def _chat(template: str | None, arguments: Mapping[str, object]) -> str:
    marked = template and marked_twin(template)
    given = 'tools=row.get("tools"),'
    if marked and marked != template:
        given += f' chat_template=open("{TRAINING_TEMPLATE}", encoding="utf-8").read(),'
    if arguments:
        given += f" **{dict(arguments)!r},"
    return (_MARKED_CHAT if marked else _CHAT).replace('tools=row.get("tools"),', given)


def _cut(spec: JobSpec) -> str:
    """What the job did with rows that are too long."""
    longest = spec.data.max_seq_len
    match spec.data.overlength:
        case Overlength.TRUNCATE:
            return f"        ids, weights = ids[:{longest}], weights[:{longest}]  # as the job cut them\n"
        case Overlength.DROP:
            return f"        if len(ids) > {longest}:\n            continue  # the job dropped it\n"
        case _:
            return ""
