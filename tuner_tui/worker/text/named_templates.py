"""A tokenizer's chat templates, of which there may be several by name, such as one for tools."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

DEFAULT = "default"


def default_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The template that a conversation without tools is written with; None where there is none."""
    return named_templates(tokenizer).get(DEFAULT)


def named_templates(tokenizer: PreTrainedTokenizerBase) -> dict[str, str]:
    """All templates by name; a single one is the default."""
    own = tokenizer.chat_template
    if isinstance(own, dict):
        return {str(name): template for name, template in own.items() if template}
    return {DEFAULT: own} if own else {}
