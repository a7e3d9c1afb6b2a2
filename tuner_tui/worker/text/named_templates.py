"""A tokenizer's chat templates, of which there may be several by name, such as one for tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.data.tokens.template_files import DEFAULT as DEFAULT
from tuner_tui.data.tokens.template_files import named

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def default_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The template that a conversation without tools is written with; None where there is none."""
    return named_templates(tokenizer).get(DEFAULT)


def named_templates(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """All templates by name; a single one is the default."""
    return named(tokenizer.chat_template)
