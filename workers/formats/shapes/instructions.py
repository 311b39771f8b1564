"""One question and its answer under various names: Alpaca, question/answer, query/response."""

from typing import Any, ClassVar

from workers.contract.rows import DatasetFormat
from workers.formats.conversion import BadRow, Conversion
from workers.formats.shapes.shape import has_keys, ignore_others, needed_text, text_of


class _Instruction:
    """A chat of one question and one answer, after what was said before."""

    name: ClassVar[str]
    question: ClassVar[str]
    context: ClassVar[str | None] = None
    answer: ClassVar[str]
    format: ClassVar = DatasetFormat.CHAT
    required: ClassVar[frozenset[str]]
    optional: ClassVar[frozenset[str]]
    hints: ClassVar[frozenset[str]]

    def __init_subclass__(cls) -> None:
        cls.required = cls.hints = frozenset({cls.question, cls.answer})
        cls.optional = frozenset({"system", "history"} | ({cls.context} if cls.context else set()))

    def has(self, row: dict[str, Any]) -> bool:
        """Whether it has question and answer."""
        return has_keys(row, self.required)

    def convert(self, row: dict[str, Any], to: Conversion) -> dict[str, Any]:
        """System, history, then question and answer."""
        ignore_others(row, self.required | self.optional, to)
        messages: list[dict[str, Any]] = []

        def say(role: str, content: str, place: str) -> None:
            to.moved(f"messages.{len(messages)}", place)
            to.moved(f"messages.{len(messages)}.content", place)
            messages.append({"role": role, "content": content})

        if system := text_of(row, "system"):
            say("system", system, "system")
        for number, (question, answer) in enumerate(_history(row)):
            say("user", question, f"history.{number}.0")
            say("assistant", answer, f"history.{number}.1")
        say("user", self._asked(row, to), self.question)
        say("assistant", needed_text(row, self.answer), self.answer)
        to.note("converted", f"rows are read as chats: {self.question} is the user's, {self.answer} the assistant's")
        return {"messages": messages}

    def _asked(self, row: dict[str, Any], to: Conversion) -> str:
        asked = needed_text(row, self.question)
        context = text_of(row, self.context) if self.context else None
        if not context:
            return asked
        to.note("joined", f"{self.context} follows {self.question} after a blank line")
        return f"{asked}\n\n{context}"


class Alpaca(_Instruction):
    """`{"instruction": "...", "input"?: "...", "output": "..."}`."""

    name: ClassVar = "alpaca"
    question: ClassVar = "instruction"
    context: ClassVar = "input"
    answer: ClassVar = "output"


class QuestionAnswer(_Instruction):
    """`{"question": "...", "answer": "..."}`."""

    name: ClassVar = "question_answer"
    question: ClassVar = "question"
    answer: ClassVar = "answer"


class QueryResponse(_Instruction):
    """`{"query": "...", "response": "..."}`."""

    name: ClassVar = "query_response"
    question: ClassVar = "query"
    answer: ClassVar = "response"


def _history(row: dict[str, Any]) -> list[tuple[str, str]]:
    """Earlier questions and answers. Raises: BadRow."""
    history = row.get("history")
    if history is None or history == "":
        return []
    if not isinstance(history, list):
        raise BadRow("history", "list_type", "Input should be a valid list")
    for number, pair in enumerate(history):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise BadRow(f"history.{number}", "invalid_history", "expected a question and its answer, both texts")
    return [(question, answer) for question, answer in history]
