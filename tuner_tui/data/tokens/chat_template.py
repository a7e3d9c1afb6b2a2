"""A chat template as transformers would run it, without transformers; only a limited child should."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

REASONING_FIELDS = ("reasoning_content", "thinking", "reasoning")
"""Names that a turn's reasoning has in data and templates; the first is the usual one."""
Compiled = Any


def render(
    template: str,
    turns: Sequence[Mapping[str, Any]],
    asks_for_answer: bool,
    tools: Sequence[Any] | None,
    special_tokens: Mapping[str, Any],
    moment: datetime | None = None,
) -> str:
    """Turns as a template writes them, at that local time or now. Raises whatever the template does."""
    for tool in tools or ():
        if not isinstance(tool, dict):
            raise ValueError(f"a tool is {type(tool).__name__}, not an object (a JSON schema)")
    rendered: str = compiled(template).render(
        messages=[_turn(turn) for turn in turns],
        tools=list(tools) if tools else None,
        documents=None,
        add_generation_prompt=asks_for_answer,
        strftime_now=(moment or datetime.now()).strftime,
        **special_tokens,
    )
    return rendered


def _turn(turn: Mapping[str, Any]) -> dict[str, Any]:
    """A turn without fields that say nothing, its reasoning under the names that templates read."""
    given = {name: value for name, value in turn.items() if value is not None}
    reasoning = next((given[name] for name in REASONING_FIELDS if name in given), None)
    if reasoning is not None:
        given = {"thinking": reasoning, **given, "reasoning_content": reasoning}
    return given


@lru_cache
def compiled(template: str) -> Compiled:
    """The template in a sandbox like that of transformers. Raises jinja2's TemplateError."""
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
    return environment.from_string(template)
