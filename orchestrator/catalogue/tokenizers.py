"""The tokenizer of a base, as far as its files tell without transformers.

Those in Rust ("fast") know which text each token stands for. Those in Python do not, so hosts refuse chat rows over
them; rows of text and of prompt and completion work.
"""

from pathlib import Path
from typing import Final

from orchestrator.catalogue.config_json import read_json
from orchestrator.catalogue.hub import cached_folder, is_cached
from workers.contract.base import BaseSpec

FILES: Final = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model")
WITHOUT_FILES: Final = frozenset({"ByT5Tokenizer", "CanineTokenizer", "DiaTokenizer", "PerceiverTokenizer"})
"""Those whose vocabulary is the bytes or characters themselves."""
IN_PYTHON: Final = WITHOUT_FILES | frozenset(
    {
        *("BartphoTokenizer", "BertGenerationTokenizer", "BertJapaneseTokenizer", "BertTokenizerLegacy"),
        *("BertweetTokenizer", "BioGptTokenizer", "BlenderbotSmallTokenizer", "CTRLTokenizer", "ClvpTokenizer"),
        *("CpmAntTokenizer", "CpmTokenizer", "EsmTokenizer", "FSMTTokenizer"),
        *("FastSpeech2ConformerTokenizer", "FlaubertTokenizer", "GPTNeoXJapaneseTokenizer", "GPTSw3Tokenizer"),
        *("M2M100Tokenizer", "MarianTokenizer", "MgpstrTokenizer", "MyT5Tokenizer", "PLBartTokenizer"),
        *("PhobertTokenizer", "ProphetNetTokenizer", "RoCBertTokenizer", "SiglipTokenizer"),
        *("Speech2TextTokenizer", "SpeechT5Tokenizer", "TapasTokenizer", "VitsTokenizer", "Wav2Vec2CTCTokenizer"),
        *("Wav2Vec2PhonemeCTCTokenizer", "XLMTokenizer"),
    }
)
"""The classes of transformers that are written in Python alone."""
OF_MODEL_TYPES: Final = {
    "biogpt": "BioGptTokenizer",
    "cpmant": "CpmAntTokenizer",
    "ctrl": "CTRLTokenizer",
    "gpt-sw3": "GPTSw3Tokenizer",
    "gpt_neox_japanese": "GPTNeoXJapaneseTokenizer",
}
"""The types of decoders that have such a tokenizer if their files name none."""


def python_tokenizer(folder: Path) -> str | None:
    """The class of the tokenizer in `folder`, where it is one in Python. Raises: Refused."""
    config = read_json(folder / "config.json")
    stated = read_json(folder / "tokenizer_config.json").get("tokenizer_class") or config.get("tokenizer_class")
    name = stated or OF_MODEL_TYPES.get(str(config.get("model_type")))
    if not isinstance(name, str) or name.removesuffix("Fast") not in IN_PYTHON:
        return None
    return name.removesuffix("Fast")


def has_tokenizer(folder: Path) -> bool:
    """Whether there is one. Raises: Refused."""
    return any((folder / name).is_file() for name in FILES) or python_tokenizer(folder) in WITHOUT_FILES


def python_tokenizer_of(base: BaseSpec) -> str | None:
    """The same for a base of the catalogue; None also where this machine does not have its files. Raises: Refused."""
    scheme, _, location = base.source.partition(":")
    if scheme == "file":
        return python_tokenizer(Path(location))
    if scheme == "hf" and is_cached(base.source, base.revision):
        return python_tokenizer(cached_folder(location, base.revision))
    return None  # the tokenizer of a GGUF is converted to one in Rust
