"""Compares two models on the same tokens: the first generates greedily, the second is teacher-forced on its answers."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from tuner_tui.runs.export_events import Agreement
from tuner_tui.worker.training.samples import _encode, _end_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Answer:
    """One prompt, its greedy answer, and the model's logits at each token of the answer."""

    prompt: str
    tokens: Tensor
    """Prompt and answer: (length)."""
    prompt_length: int
    logits: Tensor
    """Before each token of the answer: (answer length, vocabulary), fp32."""
    layers: tuple[Tensor, ...]
    """Hidden states at the prompt's last token, embedding first: (width) each."""


@dataclass(frozen=True)
class Tolerance:
    """How far an export may differ from the trained model."""

    near_tie: float
    """A token may differ where the two highest probabilities are within this gap."""
    probability: float
    """Largest difference of the top token's probability."""
    mean_kl: float
    """Nats per token."""
    spread: float
    """Largest difference of a logit, in standard deviations of the token's logits: for small models with flat
    distributions it shows differences that the probabilities do not."""


EXACT = Tolerance(near_tie=0.01, probability=0.01, mean_kl=1e-3, spread=0.01)
ROUNDED = Tolerance(near_tie=0.05, probability=0.05, mean_kl=5e-3, spread=0.15)
"""Weights rounded to 16 bits."""
COARSE = Tolerance(near_tie=0.1, probability=0.1, mean_kl=2e-2, spread=0.5)
"""16-bit compute, where the model does not fit in memory in fp32."""
QUANTISED = Tolerance(near_tie=0.4, probability=0.2, mean_kl=0.1, spread=1.5)


@dataclass(frozen=True)
class Mismatch:
    """Where a comparison first exceeded its tolerance."""

    where: str
    difference: str


def answer_all(
    model: Any,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    max_new_tokens: int,
    prompt_done: Callable[[], None] = lambda: None,
) -> list[Answer]:
    """Greedy answers to single-turn prompts, one at a time, with logits and hidden states."""
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    answers = []
    for prompt in prompts:
        ids = _encode(tokenizer, [prompt])["input_ids"].to(model.device)
        with torch.inference_mode():
            output = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                max_new_tokens=max_new_tokens,
                do_sample=False,
                temperature=None,
                top_p=None,
                top_k=None,
                repetition_penalty=1.0,
                pad_token_id=tokenizer.pad_token_id,
            )[0]
        ends = _end_tokens(model, tokenizer)
        length = ids.shape[1]
        tokens = output.tolist()
        last = next((at for at in range(length, len(tokens)) if tokens[at] in ends), len(tokens) - 1)
        logits, layers = _look(model, output[: last + 1], length)
        answers.append(Answer(prompt, output[: last + 1].cpu(), length, logits, layers))
        prompt_done()
    return answers


def compare(
    answers: Sequence[Answer],
    other: Any,
    tolerance: Tolerance,
    decode: Callable[..., Any],
    prompt_done: Callable[[], None] = lambda: None,
) -> tuple[Agreement, Mismatch | None]:
    """Run another model on the same answers: how well it agrees, and where it first exceeds the tolerance."""
    totals = {"kl": 0.0, "probability": 0.0, "logit": 0.0, "tokens": 0, "ties": 0, "equal": 0}
    first: Mismatch | None = None
    for answer in answers:
        logits, layers = _look(other, answer.tokens.to(other.device), answer.prompt_length)
        wanted, actual = answer.logits.softmax(-1), logits.softmax(-1)
        best = wanted.argmax(-1)
        at = torch.arange(len(best))
        gap = (wanted[at, best] - actual[at, best]).abs()
        two = wanted.topk(2).values
        differs = actual.argmax(-1) != best
        is_tie = differs & (two[:, 0] - two[:, 1] <= tolerance.near_tie)
        kl = (wanted * (answer.logits.log_softmax(-1) - logits.log_softmax(-1))).sum(-1)
        totals["kl"] += kl.sum().item()
        totals["probability"] = max(totals["probability"], gap.max().item())
        totals["logit"] = max(totals["logit"], (answer.logits - logits).abs().max().item())
        totals["tokens"] += len(best)
        totals["ties"] += int(is_tie.sum())
        spread = (answer.logits - logits).abs().amax(-1) / answer.logits.std(-1)
        bad = (differs & ~is_tie) | ~(gap <= tolerance.probability) | ~(spread <= tolerance.spread)
        totals["equal"] += int(not bool((differs & ~is_tie).any()))
        if first is None and bool(bad.any()):
            first = _mismatch(answer, int(bad.nonzero()[0]), logits, layers, decode)
        prompt_done()
    mean_kl = totals["kl"] / max(1, totals["tokens"])
    agreement = Agreement(
        prompts=len(answers),
        equal_answers=int(totals["equal"]),
        tokens=int(totals["tokens"]),
        near_ties=int(totals["ties"]),
        largest_logit_difference=totals["logit"],
        largest_probability_difference=totals["probability"],
        mean_kl=mean_kl,
    )
    if first is None and not mean_kl <= tolerance.mean_kl:
        first = Mismatch("over all tokens", f"mean KL {mean_kl:.4f}, tolerance {tolerance.mean_kl:g}")
    return agreement, first


def _look(model: Any, tokens: Tensor, prompt_length: int) -> tuple[Tensor, tuple[Tensor, ...]]:
    with torch.inference_mode():
        output = model(input_ids=tokens[None], output_hidden_states=True)
    logits = output.logits[0, prompt_length - 1 : -1].float().cpu()
    layers = tuple(state[0, prompt_length - 1].float().cpu() for state in output.hidden_states)
    return logits, layers


def _mismatch(
    answer: Answer, at: int, logits: Tensor, layers: tuple[Tensor, ...], decode: Callable[..., Any]
) -> Mismatch:
    wanted, actual = answer.logits[at].softmax(-1), logits[at].softmax(-1)
    expected, got = int(wanted.argmax()), int(actual.argmax())
    what = f"expected {decode(expected)!r} with probability {wanted[expected]:.3f}"
    what += f", got {decode(got)!r} (the expected one with {actual[expected]:.3f})"
    what += f"; logits differ by up to {(answer.logits[at] - logits[at]).abs().max():.2g}"
    where = f"prompt {answer.prompt!r}, answer token {at + 1}, {_first_layer(answer.layers, layers)}"
    return Mismatch(where, what)


def _first_layer(wanted: Sequence[Tensor], actual: Sequence[Tensor]) -> str:
    """The layer at which hidden states diverge: where their relative distance grows most."""
    distance = [
        (torch.linalg.vector_norm(one - two) / torch.linalg.vector_norm(one).clamp_min(1e-12)).item()
        for one, two in zip(wanted, actual, strict=True)
    ]
    if not all(value == value for value in distance):
        return f"not finite from layer {next(i for i, value in enumerate(distance) if value != value)} on"
    if distance[0] > 1e-3:
        return "beginning in the embedding"
    growth = [after - before for before, after in itertools.pairwise(distance)]
    layer = next((i for i, step in enumerate(growth) if step > max(0.02, 0.25 * max(growth))), None)
    return "in the head" if layer is None else f"beginning in layer {layer} ({distance[layer + 1]:.1%} off)"
