"""Splits a chat template into plain text pieces, for programs that do not support Jinja."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.errors import InputError
from tuner_tui.runs.export_events import ChatTemplate
from tuner_tui.text import counted
from tuner_tui.worker.export.gguf_tokenizer import begins_with_bos
from tuner_tui.worker.text.named_templates import default_template
from tuner_tui.worker.text.rendering import TemplateRefused, render

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

Turn = tuple[str, str]
FIRST, ANSWER, SECOND, SYSTEM = "\ue000", "\ue001", "\ue002", "\ue003"
"""Placeholders for contents; private-use characters, which no template contains."""
CONVERSATIONS: tuple[tuple[Turn, ...], ...] = (
    (("user", "Who is it?"),),
    (("user", "Who?"), ("assistant", "Me."), ("user", "And who are you?")),
    (("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e")),
)
"""Conversations that the pieces are verified with, without and with a system message."""


def take_apart(tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
    """The pieces of a chat template, tried on several conversations. Raises InputError when it has no such pieces."""
    if default_template(tokenizer) is None:
        raise InputError(
            "No chat template",
            "The model's tokenizer has none, so no chat package can be made from it.",
            "Export it with --as gguf and give the prompt as plain text.",
        )
    try:
        template = _pieces(tokenizer)
    except (TemplateRefused, ValueError) as error:
        reason = error.reason if isinstance(error, TemplateRefused) else error
        raise _refused(f"it cannot be split into pieces ({reason})") from None
    for turns in _tried(template):
        if put_together(template, turns) != _rendered(tokenizer, turns, strip_bos=True):
            raise _refused(f"its pieces do not reproduce its text for {counted(len(turns), 'turn')}")
    return template


def put_together(template: ChatTemplate, turns: Sequence[Turn]) -> str:
    """A conversation rendered with the pieces, up to where the answer begins."""
    has_system = any(role == "system" for role, _ in turns)
    text = "" if has_system else template.default_system
    for role, content in turns:
        text += template.before[role] + content + template.after[role]
    return text + template.answer_start


def stop_texts(tokenizer: PreTrainedTokenizerBase, template: ChatTemplate) -> tuple[str, ...]:
    """Stop texts of an answer: the EOS token, and special tokens that follow an answer or begin another turn.

    If none of these follows an answer, the text that the template writes there is used.
    """
    marks = [str(token) for token in tokenizer.all_special_tokens]
    around = template.after["assistant"] + template.before["user"]
    stops = [str(tokenizer.eos_token)] if tokenizer.eos_token else []
    stops += [mark for mark in marks if mark in around]
    after = template.after["assistant"].strip()
    if after and not any(mark in after for mark in stops):
        stops.append(after)
    return tuple(dict.fromkeys(stops))


def _tried(template: ChatTemplate) -> list[tuple[Turn, ...]]:
    plain = list(CONVERSATIONS)
    if "system" in template.before:
        plain += [(("system", "Be brief."), *turns) for turns in CONVERSATIONS]
    return plain


def _pieces(tokenizer: PreTrainedTokenizerBase) -> ChatTemplate:
    def written(*turns: Turn, answer: bool = True) -> str:
        return _rendered(tokenizer, turns, answer=answer, strip_bos=True)

    question = written(("user", FIRST), answer=False)
    start, after_user = question.split(FIRST)
    answer_start = written(("user", FIRST)).removeprefix(question)
    exchange = written(("user", FIRST), ("assistant", ANSWER), ("user", SECOND), answer=False)
    _, to_answer, to_second, _ = _split(exchange, FIRST, ANSWER, SECOND)
    before_user = _common_end(start, to_second)
    if after_user and before_user != after_user:
        before_user = before_user.removeprefix(after_user)
    before = {"user": before_user, "assistant": to_answer.removeprefix(after_user)}
    after = {"user": after_user, "assistant": to_second.removesuffix(before_user)}
    try:
        led = written(("system", SYSTEM), ("user", FIRST), answer=False)
        before["system"], to_user, _ = _split(led, SYSTEM, FIRST)
        if not to_user.endswith(before_user):
            raise ValueError("the system message is not a turn of its own")
        after["system"] = to_user.removesuffix(before_user)
    except (TemplateRefused, ValueError):
        before.pop("system", None)
    return ChatTemplate(
        before=before,
        after=after,
        default_system=start.removesuffix(before_user),
        answer_start=answer_start,
    )


def _common_end(one: str, two: str) -> str:
    length = 0
    while length < min(len(one), len(two)) and one[-1 - length] == two[-1 - length]:
        length += 1
    return one[len(one) - length :]


def _split(text: str, *marks: str) -> list[str]:
    """The text between marks, each of which occurs exactly once. Raises ValueError otherwise."""
    parts = []
    for mark in marks:
        before, text = text.split(mark)
        parts.append(before)
    return [*parts, text]


def _rendered(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], *, answer: bool = True, strip_bos: bool = False
) -> str:
    messages = [{"role": role, "content": content} for role, content in turns]
    text = render(tokenizer, messages, str(tokenizer.name_or_path), asks_for_answer=answer)
    if strip_bos and begins_with_bos(tokenizer):
        return text.removeprefix(str(tokenizer.bos_token))
    return text


def _refused(reason: str) -> InputError:
    return InputError(
        "This chat template cannot be written for Ollama",
        f"Ollama has its own template language, and {reason}.",
        "Export it with --as gguf for llama.cpp, which reads the model's own template.",
    )
