"""The Rust half of a fast tokenizer, and a tokenizer's special tokens."""

from typing import Any


def backend_of(tokenizer: Any, *, plain: bool) -> Any:
    """The tokenizer of `tokenizers`, ready for a call; `plain`: special tokens are the characters of their names.

    A call of it takes a tenth less time than one of transformers around it.
    """
    backend = tokenizer.backend_tokenizer
    # State of a tokenizer that is shared: whoever calls it says what he needs, as transformers does.
    if backend.encode_special_tokens != plain:
        backend.encode_special_tokens = plain
    if backend.truncation is not None:
        backend.no_truncation()
    if backend.padding is not None:
        backend.no_padding()
    return backend


def special_tokens_of(tokenizer: Any) -> dict[int, str]:
    """By id. It costs a pass over all added tokens, so not once a row."""
    named = zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True)
    added = tokenizer.added_tokens_decoder.items()
    return dict(named) | {token_id: token.content for token_id, token in added if token.special}
