"""Greedy answers of a base and its adapters: `python -m workers.sample < request.json > answers.json`.

For inspecting a fine-tuned model, not for serving: one process, one load, no batching across adapters.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel

from workers.bases import LoadedBase, load_base
from workers.contract.sampling import SampleAnswers, SampleRequest


def sample(request: SampleRequest) -> SampleAnswers:
    """Answer every question. Raises: BaseUnavailable, BaseRefused, BaseDigestMismatch."""
    if request.host.threads is not None:
        torch.set_num_threads(request.host.threads)
    base = load_base(request.host)
    base.model.eval()
    answers: dict[int, str] = {}
    for adapter in dict.fromkeys(question.adapter for question in request.questions):
        asked = [index for index, question in enumerate(request.questions) if question.adapter == adapter]
        prompts = [request.questions[index].prompt for index in asked]
        with _wearing(base, adapter) as model:
            answers.update(zip(asked, _generate(model, base, prompts, request), strict=True))
    return SampleAnswers(answers=tuple(answers[index] for index in range(len(request.questions))))


@contextmanager
def _wearing(base: LoadedBase, adapter: str | None) -> Iterator[Any]:
    """The base with the adapter in its linears for the duration of the block."""
    if adapter is None:
        yield base.model
        return
    model = PeftModel.from_pretrained(base.model, adapter)
    model.eval()
    try:
        yield model
    finally:
        model.unload()


def _generate(model: Any, base: LoadedBase, prompts: Sequence[str], request: SampleRequest) -> list[str]:
    """The model's answer to each prompt [B], rendered as a user turn."""
    tokenizer = base.tokenizer
    rendered = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": prompt}],
            chat_template=request.host.base.chat_template,
            tokenize=False,
            add_generation_prompt=True,
            **request.chat_template_kwargs,
        )
        for prompt in prompts
    ]
    inputs = tokenizer(rendered, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
    ends = [tokenizer.eos_token_id, *tokenizer.convert_tokens_to_ids(list(request.stop))]
    with torch.inference_mode():
        output = model.generate(
            **inputs.to(base.device),
            max_new_tokens=request.max_new_tokens,
            do_sample=False,
            eos_token_id=ends,
            pad_token_id=tokenizer.pad_token_id,
        )
    fresh = output[:, inputs["input_ids"].shape[1] :]
    return [text.strip() for text in tokenizer.batch_decode(fresh, skip_special_tokens=True)]


def main() -> None:
    """Read a request from stdin, write the answers to stdout."""
    request = SampleRequest.model_validate_json(sys.stdin.read())
    sys.stdout.write(sample(request).model_dump_json() + "\n")


if __name__ == "__main__":
    main()
