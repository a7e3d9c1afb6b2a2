"""Samples during training: fixed prompts answered by the current model and, once, by the base."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Literal

import torch

from tuner_tui.runs.events import Sampled, decode_lines
from tuner_tui.worker.text.rendering import render

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

    from tuner_tui.worker.job import Job

SMALLEST_SLICE_SECONDS = 0.3
"""With less time than this left, no answer is started."""


def generate(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    max_new_tokens: int,
    max_seconds: float | None = None,
) -> list[tuple[str, bool]]:
    """Greedy answers to single-turn prompts, in one batch: (answer, whether it ended with EOS)."""
    encoded = _encode(tokenizer, prompts).to(model.device)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():  # inference mode would leave tensors that training cannot use
            output = model.generate(
                **encoded,
                max_new_tokens=max_new_tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                max_time=max_seconds,
                use_cache=True,
                pad_token_id=tokenizer.pad_token_id,
            )
    finally:
        model.train(was_training)
    ends = _end_tokens(model, tokenizer)
    answers = []
    for row in output[:, encoded["input_ids"].shape[1] :].tolist():
        end = next((position for position, token in enumerate(row) if token in ends), None)
        answers.append((str(tokenizer.decode(row[:end], skip_special_tokens=True)).strip(), end is not None))
    return answers


class Sampler:
    """Answers the spec's prompts within the sample time budget."""

    def __init__(
        self, job: Job, model: Any, tokenizer: PreTrainedTokenizerBase, *, can_answer: bool = True
    ) -> None:
        self._job, self._model, self._tokenizer = job, model, tokenizer
        self.is_wanted = job.can_sample = can_answer and bool(job.spec.samples.prompts)
        if job.spec.samples.prompts and not can_answer:
            job.warn(
                "No samples are generated: this model outputs scores, not text.", "Remove samples.prompts."
            )
        self._has_base = job.resume_from is not None and _has_base_answers(job.folder.events)
        self._has_warned = False
        self._last_seconds = 0.0
        self._has_adapter = hasattr(model, "disable_adapter")

    def needs_base_first(self) -> bool:
        """Whether the base must answer before the first step: full tuning changes it."""
        return self.is_wanted and not self._has_adapter and self._job.resume_from is None

    def answer_as_base(self, allowed_seconds: float | None) -> None:
        """Answer once with the model as it was before training."""
        self._has_base = True
        if self._has_adapter:
            with self._model.disable_adapter():
                self._answer("base", 0, allowed_seconds)
        else:
            self._answer("base", 0, allowed_seconds)

    def answer(
        self, step: int, projected_seconds: float, *, is_asked: bool = False, is_last: bool = False
    ) -> None:
        """Answer now if the budget allows; a request by the user is always answered.

        Every time but the last leaves enough budget for one more, since the last answers matter most; these may be cut
        short.
        """
        needs_base = self._has_adapter and not self._has_base
        left = self._job.spec.samples.budget_percent / 100 * projected_seconds - self._job.times.samples
        times = 1 + needs_base + (not is_last)
        wanted = max(SMALLEST_SLICE_SECONDS, 0.0 if is_last else self._last_seconds) * times
        if not is_asked and left < wanted:
            self._warn_once()
            return
        limit = None if is_asked else left / times
        if needs_base:
            self.answer_as_base(limit)
        self._answer("tuned", step, limit)

    def _answer(self, source: Literal["base", "tuned"], step: int, allowed_seconds: float | None) -> None:
        prompts = self._job.spec.samples.prompts
        started = time.perf_counter()
        with _keeping_random_state():
            answers = generate(
                self._model, self._tokenizer, prompts, self._job.spec.samples.max_new_tokens, allowed_seconds
            )
        seconds = time.perf_counter() - started
        self._job.times.samples += seconds
        self._last_seconds = seconds
        for index, (prompt, (answer, is_finished)) in enumerate(zip(prompts, answers, strict=True)):
            self._job.emit(
                Sampled(
                    step=step,
                    prompt_index=index,
                    prompt=prompt,
                    answer=answer,
                    source=source,
                    seconds=seconds / len(prompts),
                    is_finished=is_finished,
                )
            )

    def _warn_once(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            self._job.warn(
                f"Samples are skipped: they may take {self._job.spec.samples.budget_percent:g} % of the run's time.",
                "Raise samples.budget_percent, or take fewer or shorter samples.",
            )


def _has_base_answers(events: Path) -> bool:
    recorded = decode_lines(events.read_bytes())
    return any(isinstance(event, Sampled) and event.source == "base" for event in recorded)


@contextlib.contextmanager
def _keeping_random_state() -> Iterator[None]:
    """Restore the random state, so that sampling does not affect training."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count()), enabled=True):
        yield


def _encode(tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> Any:
    side, tokenizer.padding_side = tokenizer.padding_side, "left"
    try:
        if tokenizer.chat_template:
            turns = [[{"role": "user", "content": prompt}] for prompt in prompts]
            texts = [
                render(tokenizer, conversation, "samples.prompts", asks_for_answer=True)
                for conversation in turns
            ]
            return tokenizer(texts, padding=True, add_special_tokens=False, return_tensors="pt")
        return tokenizer(list(prompts), padding=True, return_tensors="pt", return_token_type_ids=False)
    finally:
        tokenizer.padding_side = side


def _end_tokens(model: Any, tokenizer: PreTrainedTokenizerBase) -> set[int]:
    ends = model.generation_config.eos_token_id
    return {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}
