"""Requests and answers of `workers.sample`: greedy text from a base, with or without an adapter."""

from pydantic import Field

from workers.contract.model import Frozen
from workers.contract.spec import HostSpec, TemplateArgument, TemplateArgumentName


class SamplePrompt(Frozen):
    """One user message, and the adapter that answers it."""

    prompt: str = Field(min_length=1)
    adapter: str | None = Field(None, description="PEFT folder on this machine; None: the base alone")


class SampleRequest(Frozen):
    """Load `host.base` once and answer every question."""

    host: HostSpec
    questions: tuple[SamplePrompt, ...] = Field(min_length=1)
    max_new_tokens: int = Field(24, ge=1, le=4096)
    chat_template_kwargs: dict[TemplateArgumentName, TemplateArgument] = Field(
        {}, description="arguments of the base's chat template, as the adapters' jobs had them"
    )
    stop: tuple[str, ...] = Field((), description="tokens that end an answer, besides the tokenizer's own end")


class SampleAnswers(Frozen):
    """Answers in the order of the questions, without special tokens."""

    answers: tuple[str, ...]
