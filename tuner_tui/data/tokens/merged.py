"""Tokens that reach from the end of a prompt into its completion: the completion's, and with loss, as in TRL.

TRL's completion begins where the tokens of prompt and row differ, and its `assistant_masks` with the token that holds
the answer's first character: both hold such a token. A model that is asked with the prompt alone sees another token at
the prompt's end than in training, which TRL warns of, too.
"""

from __future__ import annotations

from typing import Literal

Merge = Literal["", "whitespace", "text", "template"]
"""What of the prompt is in the completion's first token: nothing, whitespace, other text, or what a template wrote."""
KINDS: tuple[Merge, ...] = ("whitespace", "text", "template")
KIND = "merged first tokens"
WHAT = (
    "the completion's first token merges with the end of the prompt, so a prompt alone ends in another token"
)
_HINTS: dict[Merge, str] = {
    "whitespace": "Move the trailing space to the start of the completion.",
    "text": "End the prompt where a token ends, such as before the space of the next word.",
    "template": "Use a chat template (data.template) of which the generation prompt does not end in a space.",
}


def merge_of(text: str, token: tuple[int, int], begin: int, *, is_rendered: bool) -> Merge:
    """How a token at some characters (begin, end) of a text merges with an answer that begins at `begin`.

    A token of which the tokenizer trims leading whitespace from the place begins with the answer.
    """
    left, right = token
    if not left < begin < right:
        return ""
    if is_rendered:
        return "template"
    return "whitespace" if text[left:begin].isspace() else "text"


def merge_hint(kind: Merge) -> str:
    """What to do about it."""
    return _HINTS[kind]
