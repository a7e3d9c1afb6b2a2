"""Turns of a conversation in one form, whatever dialect they came in: the one reader of turns for every dataset type.

A turn in plain form has `role` and `content` (text), and where there are any `reasoning_content`, `tool_calls`,
`tool_call_id`, `name`, and `weight` 0 for one that is not to be trained.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from tuner_tui.data.rows.faults import RowFault as RowFault
from tuner_tui.data.rows.flags import MASK_FLAGS, TRAIN_FLAGS, marked
from tuner_tui.data.rows.parts import CALL_TYPES, RESULT_TYPES, content_of, thought_of
from tuner_tui.data.rows.roles import CALL_ROLES, ROLES
from tuner_tui.data.rows.tool_calls import calls_of
from tuner_tui.data.rows.tool_calls import tools_of as tools_of
from tuner_tui.data.rows.unused import pass_over
from tuner_tui.data.rows.written import CONTENT_KEYS, ROLE_KEYS, as_object

THOUGHTS = (
    "reasoning_content", "thinking", "reasoning", "thought", "thoughts", "reasoning_text", "reasoning_details",
)  # fmt: skip
"""Names of a turn's thoughts, the usual one first."""
EXCHANGES = (("input", "output"), ("user", "assistant"), ("human", "assistant"))
LANGCHAIN_TYPES = ("human", "ai", "system", "tool", "function")
"""Kinds of messages by which LangChain says who speaks."""
CALLED = "functions."
"""How a recipient begins in gpt-oss' format (harmony): the name of the function that is called follows."""
XTUNER_FLAG = "output_with_loss"
"""Whether the answer of an exchange is trained, in XTuner's words."""
_KEPT = ("name", "tool_call_id")
_TREES = ("replies", "children")
_KNOWN = {
    "channel",
    "recipient",
    "tool_name",
    *THOUGHTS,
    *TRAIN_FLAGS,
    *MASK_FLAGS,
    *_KEPT,
    "tool_calls",
    "function_call",
    *_TREES,
}
_PLAIN_ROLES = ("system", "user", "assistant", "tool")
_HH_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant|System): ?")
_HH_ROLES = {"Human": "user", "Assistant": "assistant", "System": "system"}


def turns_of(value: Any, name: str) -> list[dict[str, Any]]:
    """Turns in plain form. Raises RowFault.

    Takes the dialects of OpenAI, ShareGPT, Anthropic, Bedrock, Gemini and ms-swift, also as JSON or Python in a text,
    and a list of texts that user and assistant say in turn.
    """
    if type(value) is list and value:
        for turn in value:
            if _plain_turn(turn) is None:
                break
        else:
            return value[:]
    turns = as_object(value) if isinstance(value, str) else value
    if isinstance(turns, dict):
        turns = [turns]
    if not isinstance(turns, list) or not turns:
        raise RowFault("A row has no turns", f"`{name}` must be a list of turns.")
    if all(isinstance(turn, str) for turn in turns):
        decoded = [as_object(turn) for turn in turns]
        if not all(isinstance(turn, dict) for turn in decoded):
            return [
                {"role": ("user", "assistant")[place % 2], "content": turn}
                for place, turn in enumerate(turns)
            ]
        turns = decoded
    if isinstance(turns[0], dict) and is_exchange(turns[0]) and all(map(_is_exchange, turns)):
        turns = [turn for exchange in turns for turn in _both(exchange, name)]
    found: list[dict[str, Any]] = []
    for place, turn in enumerate(turns):
        if (plain := _plain_turn(turn)) is not None:
            found.append(plain)
        else:
            _add(found, turn, f"{name}[{place}]", name)
    return [_without_channel(turn) for turn in found]


def _without_channel(turn: dict[str, Any]) -> dict[str, Any]:
    """A turn whose channel has done its work."""
    return {key: value for key, value in turn.items() if key != "channel"} if "channel" in turn else turn


def _plain_turn(turn: Any) -> dict[str, Any] | None:
    """A turn of the commonest dialect, which needs no more than a look."""
    if type(turn) is dict and len(turn) == 2 and type(turn.get("content")) is str:
        is_said = not turn["content"].startswith("[{")  # parts may be written as text
        return turn if is_said and turn.get("role") in _PLAIN_ROLES else None
    return None


def is_exchange(value: dict[str, Any]) -> bool:
    """Whether an object is what one says and the other answers."""
    return "role" not in value and any(
        isinstance(value.get(asked), str) and answer in value for asked, answer in EXCHANGES
    )


def _is_exchange(turn: Any) -> bool:
    return isinstance(turn, dict) and is_exchange(turn)


def _both(exchange: dict[str, Any], name: str) -> Iterator[dict[str, Any]]:
    asked, answer = next(pair for pair in EXCHANGES if pair[0] in exchange and pair[1] in exchange)
    if exchange.get("system"):
        yield {"role": "system", "content": exchange["system"]}
    yield {"role": "user", "content": exchange[asked]}
    of_answer = {
        key: exchange[key] for key in (*THOUGHTS, *TRAIN_FLAGS, *MASK_FLAGS) if exchange.get(key) is not None
    }
    if exchange.get(XTUNER_FLAG) is False:
        of_answer |= {"train": False}
    yield {"role": "assistant", "content": exchange[answer], **of_answer}
    known = (asked, answer, "system", XTUNER_FLAG, *THOUGHTS, *TRAIN_FLAGS, *MASK_FLAGS)
    for key in exchange:
        if key not in known and exchange[key] not in (None, "", [], {}):
            pass_over(f"{name}[].{key}")


def _add(found: list[dict[str, Any]], turn: Any, where: str, name: str) -> None:
    """Add a turn to those before it; a call that has a turn of its own joins the assistant's turn before it."""
    if not isinstance(turn, dict):
        raise RowFault("A turn is not an object", f"{where} must have `role` and `content`.")
    if "role" not in turn and turn.get("type") in (*CALL_TYPES, *RESULT_TYPES, "reasoning"):
        turn = _as_turn(turn, where)  # an item of OpenAI's Responses
    role_key = next((key for key in ROLE_KEYS if turn.get(key) is not None), "role")
    if turn.get(role_key) is None and turn.get("type") in LANGCHAIN_TYPES:
        role_key = "type"
    speaker = turn.get(role_key)
    role_name = speaker.strip().lower().replace("-", "_") if isinstance(speaker, str) else ""
    if any(turn.get(key) for key in _TREES):
        raise RowFault(
            "A message has replies below it",
            f"{where}: a tree of messages is not one conversation.",
            "Write each path through the tree as a row of `messages`.",
        )
    key = next((each for each in (*CONTENT_KEYS, "refusal") if turn.get(each) is not None), "content")
    weight = _weight(turn, ROLES.get(role_name, "assistant"), name)
    for other in turn:
        is_known = other in (role_key, key) or other in _KNOWN or (other, turn[other]) == ("type", "message")
        if not is_known and turn[other] not in (None, "", [], {}):
            pass_over(f"{name}[].{other}")
    if role_name in CALL_ROLES and isinstance(call := as_object(turn.get(key)), dict | list):
        calls = calls_of(call, where)
        thought = _thoughts(turn, where, name)
        last = found[-1] if found else None
        if last is not None and last["role"] == "assistant" and last.get("weight") == weight.get("weight"):
            thought = _joined(last.get("reasoning_content"), thought)
            found[-1] = {**_without_channel(last), "tool_calls": [*last.get("tool_calls", ()), *calls]}
        else:
            found.append({"role": "assistant", "content": "", "tool_calls": calls, **weight})
        if thought:
            found[-1]["reasoning_content"] = thought
        return
    role = "assistant" if role_name in CALL_ROLES else ROLES.get(role_name)
    if role is None:
        raise _unknown_role(speaker, where)
    given = turn.get("tool_calls") or ([turn["function_call"]] if turn.get("function_call") else None)
    calls = calls_of(given, where) if given else []
    if turn.get("tool_calls") and turn.get("function_call"):
        (other,) = calls_of([turn["function_call"]], where)
        if other["function"] not in [call["function"] for call in calls]:
            pass_over(f"{name}[].function_call")
    thoughts = _thoughts(turn, where, name)
    content = turn.get(key)
    recipient = turn.get("recipient")
    if role == "assistant" and isinstance(recipient, str) and recipient.startswith(CALLED):
        called = {"name": recipient.removeprefix(CALLED).partition(" ")[0], "arguments": content or {}}
        calls, content = [*calls, *calls_of(called, where)], ""
    elif recipient not in (None, "", "all", "assistant"):
        pass_over(f"{name}[].recipient")
    if (content is None or content == []) and (calls or thoughts is not None):
        content = ""
    taken = content_of(content, role, where)
    if taken.is_untrained(role, where):
        weight = {"weight": 0}
    found += [{**result, **weight} for result in taken.results]
    if taken.results and not (taken.texts or taken.calls or taken.thoughts):
        return
    plain: dict[str, Any] = {"role": role, "content": taken.text}
    if calls or taken.calls:
        plain["tool_calls"] = [*calls, *taken.calls]
    plain |= {each: turn[each] for each in _KEPT if turn.get(each) is not None}
    if role == "tool":
        tool_name = turn.get("name") or turn.get("tool_name")
        if isinstance(tool_name, str):
            plain["name"] = tool_name.removeprefix(CALLED)
    elif turn.get("tool_name"):
        pass_over(f"{name}[].tool_name")
    if thoughts is None and taken.thoughts:
        thoughts = "\n\n".join(taken.thoughts)
    elif taken.thoughts and thoughts != "\n\n".join(taken.thoughts):
        pass_over(f"{name}[].content[].thinking")
    if thoughts is not None:
        plain["reasoning_content"] = thoughts
    plain |= weight
    last = found[-1] if found else {}
    if turn.get("channel") == "analysis" and role == "assistant" and thoughts is None:  # gpt-oss: thoughts
        plain |= {"content": "", "reasoning_content": plain["content"], "channel": "analysis"}
    elif turn.get("channel") not in (None, "", "final", "analysis") and not (
        turn["channel"] == "commentary" and calls
    ):
        pass_over(f"{name}[].channel")
    if last.get("channel") == "analysis" and role == "assistant":
        if last.get("weight") != plain.get("weight"):
            raise RowFault(
                "A part of a turn is marked as not trained",
                f"{where}: its reasoning (channel analysis) and its answer are marked differently.",
                "Reasoning and answer are one turn, trained as a whole or not at all: mark both alike.",
            )
        plain["reasoning_content"] = _joined(found.pop()["reasoning_content"], plain.get("reasoning_content"))
    found.append(plain)


def _joined(*thoughts: str | None) -> str:
    return "\n\n".join(text for text in thoughts if text)


def _unknown_role(speaker: Any, where: str) -> RowFault:
    known = (*ROLES, *CALL_ROLES)
    near = get_close_matches(str(speaker).strip().lower(), known, 1)
    hint = f"Did you mean {near[0]}?" if near else f"Known roles: {', '.join(known)}."
    return RowFault("Unknown role", f"{where}: {speaker!r}.", hint)


def _as_turn(item: dict[str, Any], where: str) -> dict[str, Any]:
    """An item that is no message as a turn: a call, its result, or thoughts."""
    marks = {key: item[key] for key in (*TRAIN_FLAGS, *MASK_FLAGS) if item.get(key) is not None}
    if item["type"] in RESULT_TYPES:
        return {"role": "user", "content": [item]}
    if item["type"] == "reasoning":
        parts = {key: item.get(key) or "" for key in ("content", "summary")}
        return {**marks, "role": "assistant", "channel": "analysis", "content": thought_of(parts, where)}
    return {"role": "function_call", "content": item}


def _thoughts(turn: dict[str, Any], where: str, name: str) -> str | None:
    """A turn's thoughts under whichever of their names; others that say something else are passed over."""
    given = {key: thought_of(turn[key], where) for key in THOUGHTS if turn.get(key) not in (None, [], {})}
    if not given:
        return None
    first = next((text for text in given.values() if text), "")
    for key, text in given.items():
        if text and text != first:
            pass_over(f"{name}[].{key}")
    return first


def _weight(turn: dict[str, Any], role: str, name: str) -> dict[str, Any]:
    """`weight` 0 where a turn, of any role, is marked as not to be trained."""
    is_trained, unread = marked(turn)
    for key in unread:
        pass_over(f"{name}[].{key}")
    if is_trained and role != "assistant":
        for key in (*TRAIN_FLAGS, *MASK_FLAGS):
            if turn.get(key) is not None:
                pass_over(f"{name}[].{key} (of {role} turns)")
    return {"weight": 0} if is_trained is False else {}


def is_hh(text: Any) -> bool:
    """Whether a text is a dialogue of "Human:" and "Assistant:" paragraphs."""
    return isinstance(text, str) and text.lstrip().startswith("Human:") and "\n\nAssistant:" in text


def hh_turns(text: str, name: str) -> list[dict[str, Any]]:
    """The turns of such a dialogue. Raises RowFault."""
    parts = _HH_TURN.split(text.strip())
    if len(parts) < 3 or parts[0].strip():
        raise RowFault("A dialogue cannot be read", f"`{name}` does not begin with Human: or Assistant:.")
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return [{"role": _HH_ROLES[who], "content": turn_text.strip()} for who, turn_text in pairs]
