"""A chat template as transformers would run it, without transformers; only a limited child should."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from tuner_tui.data.rows.flags import NOT_RENDERED

REASONING_FIELDS = ("reasoning_content", "thinking", "reasoning")
"""Names that a turn's reasoning has in data and templates; the first is the usual one."""
Compiled = Any


def render(
    template: str,
    turns: Sequence[Mapping[str, Any]],
    asks_for_answer: bool,
    tools: Sequence[Any] | None,
    special_tokens: Mapping[str, Any],
    template_kwargs: Mapping[str, Any] | None = None,
    moment: datetime | None = None,
) -> str:
    """Turns as a template writes them, at that local time or now; `template_kwargs` are further names for it.

    Arguments of tool calls are objects, or JSON where the template needs text: where it refuses objects, or writes them
    as Python does. Raises whatever the template does.
    """
    for tool in tools or ():
        if not isinstance(tool, dict):
            raise ValueError(f"a tool is {type(tool).__name__}, not an object (a JSON schema)")
    plain = [_turn(turn) for turn in turns]
    names = {
        "documents": None, "strftime_now": (moment or datetime.now()).strftime, **special_tokens,
        **(template_kwargs or {}), "tools": list(tools) if tools else None,
        "add_generation_prompt": asks_for_answer,
    }  # fmt: skip
    arguments = [each for turn in plain for each in _arguments(turn) if isinstance(each, dict) and each]
    try:
        rendered: str = compiled(template).render(messages=plain, **names)
        if not any(str(each) in rendered for each in arguments):
            return rendered
    except MemoryError:
        raise
    except Exception:
        if not arguments:
            raise
    try:
        as_text: str = compiled(template).render(
            messages=[_with_text_arguments(turn) for turn in plain], **names
        )
    except Exception:  # what it says of objects is to be said
        return str(compiled(template).render(messages=plain, **names))
    return as_text


def _calls(turn: Mapping[str, Any]) -> list[Any]:
    calls = turn.get("tool_calls")
    return calls if isinstance(calls, list) else []


def _arguments(turn: Mapping[str, Any]) -> list[Any]:
    return [
        call["function"].get("arguments")
        for call in _calls(turn)
        if isinstance(call, dict) and isinstance(call.get("function"), dict)
    ]


def _with_text_arguments(turn: dict[str, Any]) -> dict[str, Any]:
    if not any(isinstance(each, dict) for each in _arguments(turn)):
        return turn
    calls = []
    for call in _calls(turn):
        function = call.get("function") if isinstance(call, dict) else None
        if isinstance(function, dict) and isinstance(function.get("arguments"), dict):
            text = json.dumps(function["arguments"], ensure_ascii=False)
            call = {**call, "function": {**function, "arguments": text}}
        calls.append(call)
    return {**turn, "tool_calls": calls}


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    """A turn without fields that say nothing or are ours, its reasoning under the names that templates read."""
    given = {name: value for name, value in turn.items() if value is not None and name not in NOT_RENDERED}
    reasoning = next((given[name] for name in REASONING_FIELDS if name in given), None)
    if reasoning is not None:
        given = {"thinking": reasoning, **given, "reasoning_content": reasoning}
    return given


@lru_cache
def compiled(template: str) -> Compiled:
    """The template in a sandbox like that of transformers. Raises jinja2's TemplateError."""
    return _environment().from_string(template)


@lru_cache
def names_read(template: str) -> frozenset[str]:
    """The variables that a template asks for, by its source, which is parsed and not run. Raises TemplateError.

    A name that the template also sets may be among them, where it is set in some cases only.
    """
    from jinja2 import meta

    return frozenset(meta.find_undeclared_variables(_environment().parse(template)))


@lru_cache
def _environment() -> Any:
    import jinja2
    from jinja2 import nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from jinja2.utils import Namespace

    class Generation(Extension):
        """Lets the block that marks what the assistant says pass as what is in it."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            call = self.call_method("_written")
            return nodes.CallBlock(call, [], [], body).set_lineno(line)

        def _written(self, caller: Any) -> Any:
            return caller()

    class PlainDict:
        """`dict` without the attributes of a class."""

        def __call__(self, *arguments: Any, **named: Any) -> dict[Any, Any]:
            return dict(*arguments, **named)

        def fromkeys(self, *arguments: Any) -> dict[Any, Any]:
            return dict.fromkeys(*arguments)

    class PlainNamespace(Namespace):
        """`namespace` without names that begin with an underscore."""

        def __init__(*arguments: Any, **named: Any) -> None:
            self, given = arguments[0], dict(*arguments[1:], **named)
            for name in given:
                _refuse_underscore(name)
            Namespace.__init__(self, given)

        def __setitem__(self, name: str, value: Any) -> None:
            _refuse_underscore(name)
            super().__setitem__(name, value)

    def _refuse_underscore(name: object) -> None:
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(
                f"a namespace cannot hold {name!r}: it begins with an underscore"
            )

    def refuse(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    def to_json(
        x: Any,
        ensure_ascii: bool = False,
        indent: Any = None,
        separators: Any = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(
            x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
        )

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals |= {
        "raise_exception": refuse,
        "dict": PlainDict(),
        "namespace": PlainNamespace,
    }
    return environment
