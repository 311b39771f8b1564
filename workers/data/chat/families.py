"""Chat templates that mark the assistant's turns with `{% generation %}`: their own, or those that trl has for them.

trl ships the stock templates of many families as `<family>.jinja`, and beside one `<family>_training.jinja` that
renders the same text with the marks. They are read as files: importing trl takes seconds and brings torch along.
"""

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Final

_MARK: Final = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")
_TRAINING: Final = "_training"


def marks_turns(template: str) -> bool:
    """Whether the template marks the assistant's turns itself."""
    return _MARK.search(template) is not None


def marked_twin(template: str) -> str | None:
    """The template that marks the turns of what `template` renders: itself, or trl's. None: nobody has one."""
    return template if marks_turns(template) else _twins().get(template)


@cache
def _twins() -> dict[str, str]:
    """Stock template -> training template."""
    spec = find_spec("trl")
    if spec is None or spec.origin is None:
        return {}
    folder = Path(spec.origin).parent / "chat_templates"
    texts = {file.stem: file.read_text(encoding="utf-8") for file in sorted(folder.glob("*.jinja"))}
    return {text: texts[name + _TRAINING] for name, text in texts.items() if name + _TRAINING in texts}
