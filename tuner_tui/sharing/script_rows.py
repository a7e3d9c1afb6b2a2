"""A run's rows for its train.py: mapped, fixed, mixed, and rendered by the run's chat template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tuner_tui.config.methods import own_options
from tuner_tui.data.recognition.reading import training_reading
from tuner_tui.data.rows.for_method import read_for
from tuner_tui.data.rows.preference import PairExample, RatedExample
from tuner_tui.data.tokens.spans import RewritesTurns
from tuner_tui.data.tokens.template import TEMPLATE_FILE, load_model_text
from tuner_tui.data.tokens.text_child import Conversation
from tuner_tui.errors import InputError
from tuner_tui.models.tokenizer_folder import tokenizer_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuner_tui.data.rows.for_method import AnyExample
    from tuner_tui.data.rows.preference import Side
    from tuner_tui.data.rows.types import Example
    from tuner_tui.data.tokens.spans import Rendered
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
        self._loss_on = own_options.loss_on(facts.spec.method)

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
                    text, begin, is_rendered = self._answered(example, answer, is_finished)
                    row |= {side: text, f"{side}_from": begin, f"{side}_finished": is_finished}
                    row["rendered"] = is_rendered
                yield row
            case RatedExample():
                text, begin, is_rendered = self._answered(example, example.completion, example.finished)
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
        tools, kwargs = list(example.tools), example.template_kwargs or {}
        if self._loss_on == "all":
            wanted = Conversation(turns, False, tools, True, kwargs, finds_marked=True)
            [whole] = self._rendered(wanted, example.line)
            spans = [list(span) for span in whole.spans]
            yield {"text": whole.text, "answers": [], "untrained": spans, "rendered": True}
            return
        for part in self._rendered(Conversation(turns, False, tools, True, kwargs), example.line):
            yield {"text": part.text, "answers": [list(span) for span in part.spans], "rendered": True}

    def _rendered(self, wanted: Conversation, line: int) -> list[Rendered]:
        try:
            return self.model.answers(wanted)
        except RewritesTurns as error:
            raise _rewritten(line) from error

    def _answered(
        self, example: PairExample | RatedExample, answer: Side, is_finished: bool
    ) -> tuple[str, int, bool]:
        """(prompt and answer, where the answer begins, whether a template wrote it)."""
        prompt = example.prompt
        if isinstance(prompt, str) or isinstance(answer, str):
            return f"{prompt}{answer}", len(str(prompt)), False
        turns = [message.turn for message in (*prompt, *answer)]
        kwargs = example.template_kwargs or {}
        wanted = Conversation(turns, False, list(example.tools), True, kwargs, len(prompt), is_finished)
        [whole] = self._rendered(wanted, example.line)
        return whole.text, whole.spans[0][0], True


def _rewritten(line: int) -> InputError:
    return InputError(
        "The chat template rewrites earlier turns",
        f"Row {line}: what the template writes before an answer changes with that answer.",
        "Export the whole run instead: --as archive",
    )
