"""The conversations of the golden suite, each a chat row as a tenant writes it. Every part has words of its own."""

import json
from typing import Any, Final

Row = dict[str, Any]

WEATHER: Final = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Current weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "Where to look"}},
            "required": ["city"],
        },
    },
}
CLOCK: Final = {
    "type": "function",
    "function": {
        "name": "get_time",
        "description": "Local clock",
        "parameters": {
            "type": "object",
            "properties": {"zone": {"type": "string", "description": "Which zone"}},
            "required": ["zone"],
        },
    },
}


def _said(role: str, content: str | None, **more: Any) -> Row:
    return {"role": role, "content": content, **more}


def _calls(content: str | None, *calls: tuple[str, dict[str, str]]) -> Row:
    return _said(
        "assistant",
        content,
        tool_calls=[
            {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": json.dumps(arguments)}}
            for number, (name, arguments) in enumerate(calls)
        ],
    )


_ASKED: Final = _said("user", "Is it warm in Oslo?")
_LOOK: Final = ("get_weather", {"city": "Oslo"})
_RESULT: Final = _said("tool", "19 degrees", tool_call_id="call_0")
_GREETS: Final = [_said("assistant", "Good day!"), _said("user", "Who dives?"), _said("assistant", "The gannet.")]

CASES: Final[dict[str, Row]] = {
    "single turn": {"messages": [_said("user", "Which bird cannot fly?"), _said("assistant", "The kakapo.")]},
    "three turns": {
        "messages": [
            _said("user", "One?"),
            _said("assistant", "First."),
            _said("user", "Two?"),
            _said("assistant", "Second."),
            _said("user", "Three?"),
            _said("assistant", "Third."),
        ]
    },
    "system": {
        "messages": [_said("system", "Be brief."), _said("user", "Who sings?"), _said("assistant", "The lyrebird.")]
    },
    "developer": {
        "messages": [_said("developer", "Be brief."), _said("user", "Who sings?"), _said("assistant", "The lyrebird.")]
    },
    "starts with assistant": {"messages": _GREETS},
    "tool call": {"messages": [_ASKED, _calls(None, _LOOK)]},
    "parallel calls": {"messages": [_ASKED, _calls(None, _LOOK, ("get_time", {"zone": "CET"}))]},
    "text beside a call": {"messages": [_ASKED, _calls("Let me look.", _LOOK)]},
    "tool result": {"messages": [_ASKED, _calls(None, _LOOK), _RESULT, _said("assistant", "Quite warm.")]},
    "tools, call and result": {
        "messages": [_ASKED, _calls(None, _LOOK), _RESULT, _said("assistant", "Quite warm.")],
        "tools": [WEATHER],
    },
    "tools list": {
        "messages": [_said("user", "Who hoots?"), _said("assistant", "The owl.")],
        "tools": [WEATHER, CLOCK],
    },
    "tools, starts with assistant": {"messages": _GREETS, "tools": [WEATHER]},
    "reasoning": {
        "messages": [
            _said("user", "Who hovers?"),
            _said("assistant", "The kestrel.", reasoning_content="Think of falcons."),
        ]
    },
    "reasoning of earlier turns": {
        "messages": [
            _said("user", "Who hovers?"),
            _said("assistant", "The kestrel.", reasoning_content="Think of falcons."),
            _said("user", "Who wades?"),
            _said("assistant", "The heron.", reasoning_content="Long legs help."),
        ]
    },
    "reasoning before a call": {"messages": [_ASKED, {**_calls(None, _LOOK), "reasoning_content": "Ask the service."}]},
    "weight 0": {
        "messages": [
            _said("user", "One?"),
            _said("assistant", "Wrong.", weight=0),
            _said("user", "Again?"),
            _said("assistant", "Right."),
        ]
    },
    "empty content": {"messages": [_said("user", "Say nothing."), _said("assistant", "")]},
    "trailing spaces": {"messages": [_said("user", "Which bird cannot fly?  "), _said("assistant", "The kakapo.  ")]},
    "unicode": {
        "messages": [
            _said("user", "Où est l'œuf 🥚?"),
            _said("assistant", "鳥の巣の中 \u2013 là-haut e\u0301 \U0001f426\u200d\u2b1b."),
        ]
    },
    "name": {"messages": [_said("user", "Who am I?", name="Marguerite"), _said("assistant", "A guest.")]},
}
