"""Tools that may be called, and calls of them, in the one form that chat templates take: OpenAI's, decoded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tuner_tui.data.rows.faults import RowFault
from tuner_tui.data.rows.flags import marked
from tuner_tui.data.rows.unused import pass_over
from tuner_tui.data.rows.written import as_json, as_object

ARGUMENT_KEYS = ("arguments", "parameters", "args", "input")
NAME_KEYS = ("name", "tool_name", "toolName")
CALL_ID_KEYS = ("id", "call_id", "tool_call_id", "tool_use_id", "toolUseId", "toolCallId")
_CALL_KEYS = ("type", "index", "function", *NAME_KEYS, *ARGUMENT_KEYS, *CALL_ID_KEYS)
SCHEMA_KEYS = ("parameters", "input_schema", "inputSchema", "parameter_definitions")


def calls_of(calls: Any, where: str) -> list[dict[str, Any]]:
    """Tool calls as templates take them: with arguments as an object, not as JSON in a text. Raises RowFault.

    Arguments that are no object stay the text that they are.
    """
    decoded = as_object(calls) if isinstance(calls, str) else calls
    if not isinstance(decoded, list | dict):
        raise RowFault(
            "A tool call cannot be read", f"{where}: the call is neither an object nor JSON of one."
        )
    return [
        call_of(call, where)
        for call in (decoded if isinstance(decoded, list) else [decoded])
        if call is not None
    ]


def call_of(call: Any, where: str) -> dict[str, Any]:
    """One call. Raises RowFault for one without a name."""
    call = as_object(call) if isinstance(call, str) else call
    inner = call.get("function") if isinstance(call, dict) else None
    inner = as_json(inner) if isinstance(inner, str) and as_json(inner) is not None else inner
    if isinstance(inner, str):  # the name alone, with the arguments beside it
        inner = {**call, "name": inner}
    inner = call if inner is None else inner
    if not isinstance(call, dict) or not isinstance(inner, dict):
        raise RowFault("A tool call cannot be read", f"{where}: it is {type(call).__name__}, not an object.")
    name = next((inner[key] for key in NAME_KEYS if inner.get(key)), None)
    if not isinstance(name, str):
        raise RowFault("A tool call has no name", f"{where}: `name` says which tool is called.")
    marks = [marked(each) for each in (call, inner)]
    if any(is_trained is False for is_trained, _ in marks):
        raise RowFault(
            "A part of a turn is marked as not trained",
            f"{where}: a tool call is marked so, and a turn is trained as a whole or not at all.",
            "Mark the turn itself, or remove the mark.",
        )
    for key in {key for _, unread in marks for key in unread}:
        pass_over(f"tool_calls[].{key}")
    taken = [key for key in ARGUMENT_KEYS if inner.get(key) is not None]
    given: Any = inner[taken[0]] if taken else {}
    for key in taken[1:]:
        if inner[key] not in (given, "", [], {}):
            pass_over(f"tool_calls[].{key}")
    decoded = as_json(given) if isinstance(given, str) else given
    for key in {*call, *inner}:
        if key not in _CALL_KEYS and (call.get(key) or inner.get(key)):
            pass_over(f"tool_calls[].{key}")
    found: dict[str, Any] = {
        "type": "function",
        "function": {"name": name, "arguments": given if decoded is None else decoded},
    }
    number = next((call[key] for key in CALL_ID_KEYS if isinstance(call.get(key), str | int)), None)
    return found if number is None else found | {"id": str(number)}


def written_calls(value: Any, tools: Sequence[Any], where: str) -> list[dict[str, Any]]:
    """The calls that an answer is JSON or Python of, as in xLAM's and APIGen's rows; none for any other text.

    Each must be of one of the row's tools, and say nothing but its name and arguments.
    """
    if not tools or not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return []
    decoded = as_object(value)
    calls = decoded if isinstance(decoded, list) else [decoded]
    names = {tool["function"].get("name") for tool in tools if isinstance(tool.get("function"), dict)}
    is_calls = bool(calls) and all(
        isinstance(call, dict)
        and call.get("name") in names
        and {*call} - {"name", "id", "type"} in ({"arguments"}, {"parameters"})
        for call in calls
    )
    return calls_of(calls, where) if is_calls else []


def tools_of(value: Any) -> list[Any]:
    """The tools that a conversation may call; empty when there are none. Raises RowFault.

    Takes the dialects of OpenAI, Anthropic, Gemini, Bedrock and MCP, also as JSON in a text.
    """
    if value in (None, "", [], {}):
        return []
    tools = as_object(value) if isinstance(value, str) else value
    if isinstance(tools, dict) and isinstance(tools.get("tools"), list):  # Bedrock's toolConfig
        tools = tools["tools"]
    if (
        isinstance(tools, dict)
        and not _is_tool(tools)
        and all(isinstance(each, dict) for each in tools.values())
    ):
        tools = [{"name": name, **tool} for name, tool in tools.items()]  # keyed by name
    if isinstance(tools, dict):
        tools = [tools]
    if not isinstance(tools, list):
        raise RowFault(
            "The tools are not a list",
            f"`tools` is {'not JSON' if isinstance(value, str) else type(value).__name__}.",
            "Each tool is an object with its name and parameters (a JSON schema).",
        )
    return [made for tool in tools if tool is not None for made in _tools(tool)]


def _tools(tool: Any) -> list[dict[str, Any]]:
    tool = as_object(tool) if isinstance(tool, str) else tool
    if not isinstance(tool, dict):
        raise RowFault(
            "A tool is not an object", "`tools` holds a name alone; a tool is an object with its parameters."
        )
    for key in ("functionDeclarations", "function_declarations"):
        if isinstance(tool.get(key), list):
            return [made for each in tool[key] for made in _tools(each)]
    if isinstance(tool.get("toolSpec"), dict):
        tool = tool["toolSpec"]
    if "function" in tool:
        decoded = as_object(tool["function"]) if isinstance(tool["function"], str) else tool["function"]
        if not isinstance(decoded, dict):
            raise RowFault(
                "A tool cannot be read",
                f"`tools[].function` is {type(tool['function']).__name__}, not an object.",
            )
        return [{**tool, "function": decoded}]
    inner = {key: value for key, value in tool.items() if key != "type" or not isinstance(value, str)}
    if not isinstance(inner.get("name"), str):
        raise RowFault(
            "A tool has no name",
            f"`tools` has one with {', '.join(map(repr, tool)) or 'nothing'}.",
            "Each tool is an object with its name and parameters (a JSON schema).",
        )
    schema = next((inner.pop(key) for key in SCHEMA_KEYS if inner.get(key) is not None), None)
    if isinstance(schema, dict) and isinstance(schema.get("json"), dict):
        schema = schema["json"]
    return [{"type": "function", "function": inner | ({} if schema is None else {"parameters": schema})}]


def _is_tool(value: dict[str, Any]) -> bool:
    """Whether an object is one tool, not tools by name."""
    return any(
        key in value
        for key in (
            "name",
            "function",
            "toolSpec",
            "functionDeclarations",
            "function_declarations",
            "type",
            *SCHEMA_KEYS,
        )
    )
