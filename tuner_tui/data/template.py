"""A model's chat template and tokenizer without torch: what a conversation becomes, and how many tokens that is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner_tui.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""What "chatml" stands for as data.template."""
TEMPLATE_FILE = "chat_template.jinja"
"""Where transformers keeps a template beside a tokenizer; beside an adapter, the one its run took instead."""


def template_text(name: str) -> str:
    """The template that data.template names: "chatml", or a file's text. Raises InputError."""
    if name == "chatml":
        return CHATML
    try:
        return Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            "The chat template cannot be read",
            f"{name}: {error}.",
            'Set data.template to a file, or to "chatml".',
        ) from error


@dataclass
class ModelText:
    """How a model's texts are made and counted."""

    name: str
    tokenizer: Tokenizer
    template: str | None
    special_tokens: dict[str, str]
    """Such as {"eos_token": "</s>"}; templates may use them."""
    _compiled: Any = field(default=None, repr=False)

    @property
    def end_token(self) -> str | None:
        return self.special_tokens.get("eos_token")

    def render(
        self, turns: Sequence[dict[str, Any]], asks_for_answer: bool = False, tools: Sequence[Any] = ()
    ) -> str:
        """Turns as the template writes them. Raises InputError when there is none, or it refuses them."""
        if self.template is None:
            raise InputError(
                "The model has no chat template",
                f"{self.name} cannot render turns.",
                'Take an instruct model, or set data.template = "chatml".',
            )
        if self._compiled is None:
            self._compiled = _compile(self.template)
        try:
            return str(
                self._compiled.render(
                    messages=list(turns),
                    tools=list(tools) or None,
                    documents=None,
                    add_generation_prompt=asks_for_answer,
                    **self.special_tokens,
                )
            )
        except Exception as error:  # templates are programs: they raise whatever they like
            raise InputError("The chat template refuses a row", f"{self.name}: {error}") from error

    def encode(self, texts: list[str], *, add_special_tokens: bool) -> list[Encoding]:
        """Each text's tokens, on all cores."""
        return self.tokenizer.encode_batch(texts, add_special_tokens=add_special_tokens)

    def count(self, texts: list[str], *, add_special_tokens: bool) -> list[int]:
        """How many tokens each text is."""
        encoded = self.tokenizer.encode_batch_fast(texts, add_special_tokens=add_special_tokens)
        return [len(each.ids) for each in encoded]


def load_model_text(folder: Path, template: str | None = None) -> ModelText:
    """A model's tokenizer and template from its folder; `template` is taken in place of the model's own.

    Raises InputError when there is no tokenizer.json that can be read.
    """
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare exceptions
        raise InputError(
            "The tokenizer cannot be read", f"{path}: {error}", "Take a model with a tokenizer.json."
        ) from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    settings = _settings(folder / "tokenizer_config.json")
    own = _own_template(folder, settings)
    special = {
        key: value["content"] if isinstance(value, dict) else value
        for key, value in (_settings(folder / "special_tokens_map.json") | settings).items()
        if key.endswith("_token") and isinstance(value, str | dict)
    }
    chosen = template_text(template) if template else own
    return ModelText(folder.name, tokenizer, chosen, special)


def template_beside(folder: Path) -> str | None:
    """The chat template that lies in a folder as a file of its own; None where none can be read."""
    try:
        return (folder / TEMPLATE_FILE).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _own_template(folder: Path, settings: dict[str, Any]) -> str | None:
    if (beside := template_beside(folder)) is not None:
        return beside
    found = settings.get("chat_template")
    if isinstance(found, list):  # several, by name
        found = {each.get("name"): each.get("template") for each in found if isinstance(each, dict)}.get(
            "default"
        )
    return found if isinstance(found, str) else None


def _settings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _compile(template: str) -> Any:
    """The template in a sandbox that is like the one of transformers."""
    import jinja2
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """Lets the block that marks what the assistant says pass as what is in it."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def refuse(message: str) -> None:
        raise jinja2.exceptions.TemplateError(message)

    def to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **more: Any) -> str:
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **more)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda how: datetime.now().strftime(how)
    try:
        return environment.from_string(template)
    except jinja2.exceptions.TemplateError as error:
        raise InputError(
            "The chat template is broken", str(error), "Set data.template to another one."
        ) from error
