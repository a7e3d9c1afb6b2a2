"""Generates answers to a batch of conversations: each row has its own seed, is streamed, and can be cancelled alone."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from transformers.generation.streamers import BaseStreamer

from tuner_tui.errors import InputError
from tuner_tui.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tuner_tui.generation.messages import Generate, Sampling
    from tuner_tui.worker.generate.model import LoadedModel

TELL_EVERY_SECONDS = 0.1


@dataclass
class Row:
    """One conversation of a batch and its answer so far."""

    prompt: list[int]
    seed: int
    is_cancelled: Callable[[], bool]
    tokens: list[int] = field(default_factory=list)
    is_finished: bool = False
    was_cancelled: bool = False

    @property
    def is_open(self) -> bool:
        return not self.is_finished and not self.was_cancelled


def prompt_tokens(model: LoadedModel, request: Generate) -> list[int]:
    """A conversation's tokens. Raises InputError when they leave no space for an answer."""
    tokens = model.encode(request.turns, request.adapter)
    limit, sampling = model.context_length, request.sampling
    if not tokens:
        raise InputError("The prompt is empty", "It has no tokens.", "Enter a prompt.")
    needed = model.virtual_tokens_of(request.adapter) + len(tokens) + min(sampling.max_new_tokens, 16)
    if limit is not None and needed > limit:
        raise InputError(
            "The prompt is too long for the model",
            f"It has {counted(len(tokens), 'token')}, and {model.name} has a context of {limit:,}, answer included.",
            "Shorten it, or use a model with a longer context.",
        )
    return tokens


def answer(
    model: LoadedModel,
    rows: Sequence[Row],
    sampling: Sampling,
    tell: Callable[[Sequence[Row]], None],
    *,
    is_alone: bool,
) -> None:
    """Generate the rows' answers.

    A single row gets the tokens of plain `generate` after `torch.manual_seed(seed)`. In a batch each row samples from
    its own generator (by the Gumbel-max trick), so that its answer does not depend on the other rows. Behind virtual
    tokens only rows of the same length are computed together: padding between the two would change the answers.
    """
    by_length: dict[int, list[Row]] = {}
    for row in rows:
        by_length.setdefault(len(row.prompt) if model.virtual_tokens else 0, []).append(row)
    for together in by_length.values():
        _answer_together(model, together, sampling, lambda _: tell(rows), is_alone=is_alone)


def _answer_together(
    model: LoadedModel,
    rows: Sequence[Row],
    sampling: Sampling,
    tell: Callable[[Sequence[Row]], None],
    *,
    is_alone: bool,
) -> None:
    """Generate the answers of rows as one batch, padded on the left."""
    longest = max(len(row.prompt) for row in rows)
    pad = model.tokenizer.pad_token_id or 0
    device = model.model.device
    padded = [[pad] * (longest - len(row.prompt)) + row.prompt for row in rows]
    mask = [[0] * (longest - len(row.prompt)) + [1] * len(row.prompt) for row in rows]
    room = model.context_length and model.context_length - model.virtual_tokens
    options: dict[str, Any] = {
        "input_ids": torch.tensor(padded, device=device),
        "attention_mask": torch.tensor(mask, device=device),
        "max_new_tokens": min(sampling.max_new_tokens, room - longest if room else sampling.max_new_tokens),
        "repetition_penalty": sampling.repetition_penalty,
        "pad_token_id": pad,
        "use_cache": True,
        "streamer": _Listener(rows, model.eos_tokens(), tell),
        "stopping_criteria": StoppingCriteriaList([_Cancelling(rows)]),
    }
    if sampling.temperature == 0:
        options |= {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
    elif is_alone:
        torch.manual_seed(rows[0].seed)
        options |= {
            "do_sample": True,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
        }
    else:
        options |= {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        options["logits_processor"] = _drawing(sampling, [row.seed for row in rows], device)
    with torch.inference_mode():
        model.model.generate(**options)


def _drawing(sampling: Sampling, seeds: Sequence[int], device: torch.device) -> LogitsProcessorList:
    """The logits processors of `generate`, followed by per-row sampling."""
    steps: list[LogitsProcessor] = [TemperatureLogitsWarper(sampling.temperature)]
    if sampling.top_k:
        steps.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        steps.append(TopPLogitsWarper(sampling.top_p))
    return LogitsProcessorList([*steps, _RowDraws(seeds, device)])


class _RowDraws(LogitsProcessor):
    """Adds standard Gumbel noise to each row's scores: the largest is then a sample of their softmax (Gumbel 1954)."""

    def __init__(self, seeds: Sequence[int], device: torch.device) -> None:
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        noise = torch.empty_like(scores, dtype=torch.float32)
        for row, generator in zip(noise, self._generators, strict=True):
            row.exponential_(generator=generator)
        return scores.float() - noise.log()


class _Cancelling(StoppingCriteria):
    """Stops rows that were cancelled."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        for row in self._rows:
            if row.is_open and row.is_cancelled():
                row.was_cancelled = True
        return torch.tensor([row.was_cancelled for row in self._rows], device=input_ids.device)


class _Listener(BaseStreamer):
    """Collects each step's tokens, and reports the answers so far a few times a second."""

    def __init__(self, rows: Sequence[Row], ends: set[int], tell: Callable[[Sequence[Row]], None]) -> None:
        self._rows, self._ends, self._tell = rows, ends, tell
        self._has_prompt = False
        self._reported_at = 0.0

    def put(self, value: torch.Tensor) -> None:
        if not self._has_prompt:
            self._has_prompt = True
            return
        for row, token in zip(self._rows, value.reshape(-1).tolist(), strict=True):
            if not row.is_open:
                continue
            if token in self._ends:
                row.is_finished = True
            else:
                row.tokens.append(token)
        now = time.monotonic()
        if now - self._reported_at >= TELL_EVERY_SECONDS:
            self._reported_at = now
            self._tell(self._rows)

    def end(self) -> None:
        """Nothing is buffered, so there is nothing to flush."""
