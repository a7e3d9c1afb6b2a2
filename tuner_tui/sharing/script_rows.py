"""A run's rows for its train.py: mapped, fixed, mixed, and rendered by the run's chat template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuner_tui.data.recognition.reading import training_reading
from tuner_tui.data.rows.for_method import read_for
from tuner_tui.data.rows.preference import PairExample, RatedExample
from tuner_tui.data.tokens.spans import RewritesTurns, answer_begin
from tuner_tui.data.tokens.template import TEMPLATE_FILE, load_model_text
from tuner_tui.errors import InputError
from tuner_tui.models.tokenizer_folder import tokenizer_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tuner_tui.data.rows.for_method import AnyExample
    from tuner_tui.data.rows.preference import Side
    from tuner_tui.data.rows.types import Example
    from tuner_tui.data.tokens.template import ModelText
    from tuner_tui.sharing.run_facts import RunFacts


def script_rows(facts: RunFacts) -> Iterator[dict[str, Any]]:
    """What rows.jsonl holds. Raises InputError for rows, tokenizer or template that cannot be read any more.

    A row of sft is its text and where answers stand in it ([begin, end] characters); one of kto its text, where the
    answer begins, and its label; one of the others has both answers' whole texts. `rendered` texts have their special
    tokens written out; the others get those of the tokenizer, and an EOS token where the answer is finished.
    """
    spec = facts.spec
    _, examples = read_for(spec.method.kind, training_reading(spec.data, spec.training.seed))
    writer = _Writer(facts)
    try:
        for example in examples:
            yield from writer.rows_of(example)
    finally:
        writer.close()


def own_template(facts: RunFacts) -> Path | None:
    """The run's own chat template, if it replaced the base's."""
    template_file = facts.folder.adapter / TEMPLATE_FILE
    return template_file if not facts.is_full and template_file.is_file() else None


class _Writer:
    """Writes rows; the tokenizer's files are read when the first one has turns."""

    def __init__(self, facts: RunFacts) -> None:
        self._facts = facts
        self._model: ModelText | None = None
        self._loss_on = getattr(facts.spec.method, "loss_on", "answers")

    @property
    def model(self) -> ModelText:
        if self._model is None:
            facts, spec = self._facts, self._facts.spec
            folder = (
                facts.folder.adapter
                if facts.is_full
                else tokenizer_folder(facts.plan.model_location, facts.plan.revision)
            )
            template_file = own_template(facts)
            self._model = load_model_text(
                folder, str(template_file) if template_file else None if facts.is_full else spec.data.template
            )
            if self._model.template is None and "template_missing" in spec.data.allow:
                self._model.close()
                self._model = load_model_text(folder, "chatml")
        return self._model

    def close(self) -> None:
        """Release tokenizer and template."""
        if self._model is not None:
            self._model.close()

    def rows_of(self, example: AnyExample) -> Iterator[dict[str, Any]]:
        match example:
            case PairExample():
                row: dict[str, Any] = {}
                for side in ("chosen", "rejected"):
                    answer, is_finished = getattr(example, side), getattr(example, f"{side}_finished")
                    text, begin, is_rendered = self._answered(
                        example.prompt, answer, is_finished, example.line
                    )
                    row |= {side: text, f"{side}_from": begin, f"{side}_finished": is_finished}
                    row["rendered"] = is_rendered
                yield row
            case RatedExample():
                text, begin, is_rendered = self._answered(
                    example.prompt, example.completion, example.finished, example.line
                )
                yield {
                    "text": text, "from": begin, "finished": example.finished, "rendered": is_rendered,
                    "label": example.label,
                }  # fmt: skip
            case _:
                yield from self._learnt(example)

    def _learnt(self, example: Example) -> Iterator[dict[str, Any]]:
        if not example.messages:
            begin, text = len(example.prompt), example.prompt + example.text
            yield {"text": text, "answers": [[begin, len(text)]], "rendered": False}
            return
        turns = [message.turn for message in example.messages]
        if self._loss_on == "all":
            yield {"text": self.model.render(turns, False, example.tools), "answers": [], "rendered": True}
            return
        try:
            parts = self.model.answers(turns, example.tools)
        except RewritesTurns as error:
            raise _rewritten(example.line) from error
        for part in parts:
            yield {"text": part.text, "answers": [list(span) for span in part.spans], "rendered": True}

    def _answered(self, prompt: Side, answer: Side, is_finished: bool, line: int) -> tuple[str, int, bool]:
        """(prompt and answer, where the answer begins, whether a template wrote it)."""
        if isinstance(prompt, str) or isinstance(answer, str):
            return f"{prompt}{answer}", len(str(prompt)), False
        prompt_turns = [message.turn for message in prompt]
        whole = self.model.render([*prompt_turns, *(message.turn for message in answer)])
        begin = answer_begin(self.model.render(prompt_turns), self.model.render(prompt_turns, True), whole)
        if begin is None:
            raise _rewritten(line)
        answer_text = whole[begin:]
        return whole[: begin + self._trained_length(answer_text, answer, is_finished)], begin, True

    def _trained_length(self, answer_text: str, answer: Sequence[Any], is_finished: bool) -> int:
        """The length of the trained part of an answer: up to its EOS token, or all of a truncated one."""
        end = self.model.end_token
        position = answer_text.rfind(end) if end else -1
        content = answer[-1].content.strip()
        if not is_finished and (begin := answer_text.rfind(content)) >= 0:
            return begin + len(content)
        if position < 0:
            return len(answer_text)
        return position + len(end or "") if is_finished else position


def _rewritten(line: int) -> InputError:
    return InputError(
        "The chat template rewrites earlier turns",
        f"Row {line}: what the template writes before an answer changes with that answer.",
        "Export the whole run instead: --as archive",
    )
