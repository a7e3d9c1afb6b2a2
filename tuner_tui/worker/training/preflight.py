"""Checks before the first step: findings that would ruin a run stop it, unless data.allow names them."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch

from tuner_tui.config.methods import own_options
from tuner_tui.data.tokens.merged import KINDS, WHAT, merge_hint
from tuner_tui.errors import InputError, TunerError
from tuner_tui.text import counted
from tuner_tui.worker.text.tokens import IGNORED
from tuner_tui.worker.training.findings import Finding, settle
from tuner_tui.worker.training.template_findings import dropped_turns, has_turns, missing_template

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

    from tuner_tui.data.recognition.reading import Reading
    from tuner_tui.worker.job import Job
    from tuner_tui.worker.text.tokenised import TokenSequence
    from tuner_tui.worker.text.tokens import TokenisedData

OTHER_LOSS = 0.03
"""Losses that differ more, absolutely and relatively, are not the same in another rounding."""
LEAST_LOSS, UNIFORM_MARGIN = 1e-3, 1.0
"""A base's loss on text is above the first, and below a uniform guess over all tokens (ln V) plus the second."""
_log = logging.getLogger(__name__)


def require_pad_token(base: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Raise InputError for a pad token that the embedding does not have: padded rows would end in an IndexError."""
    rows, pad = base.get_input_embeddings().weight.shape[0], tokenizer.pad_token_id
    if pad is None or pad < rows:
        return
    raise InputError(
        "The tokenizer has tokens that the model does not have",
        f"The pad token {tokenizer.pad_token} has the ID {pad}, and the model's embedding has {rows:,} rows.",
        "Use the tokenizer of the original model, or a model whose embedding was resized for these tokens.",
    )


@dataclass(frozen=True)
class Ends:
    """The EOS tokens of a model, and its BOS token."""

    ends: frozenset[int]
    begin: int | None
    vocabulary: int | None
    context: int | None


def ends_of(tokenizer: PreTrainedTokenizerBase, config: Any, generation_ends: Sequence[int] = ()) -> Ends:
    """The special tokens by the model's configuration and tokenizer."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    end = getattr(text, "eos_token_id", None)
    ends = {tokenizer.eos_token_id, *(end if isinstance(end, list) else [end]), *generation_ends}
    return Ends(
        frozenset(token for token in ends if isinstance(token, int)),
        tokenizer.bos_token_id,
        getattr(text, "vocab_size", None),
        _above_zero(getattr(text, "max_position_embeddings", None)),
    )


def _above_zero(length: Any) -> int | None:
    """A context's length; None for what is none, such as -1 for no limit."""
    return length if isinstance(length, int) and length > 0 else None


def look(data: TokenisedData[Any], ends: Ends, max_length: int) -> list[Finding]:
    """Findings in the tokens of the training rows."""
    findings = []
    sequences = [sequence for row in data.rows for sequence in row.sequences()]
    if data.dropped:
        lines = ", ".join(str(row.line) for row in data.dropped[:5])
        findings.append(
            Finding(
                "nothing_trained",
                f"{counted(len(data.dropped), 'row has', 'rows have')} no token with loss",
                f"Rows {lines}{', ...' if len(data.dropped) > 5 else ''} have no loss within "
                f"{counted(max_length, 'token')}; "
                "they are dropped.",
                "Raise training.max_length, or remove these rows.",
            )
        )
    if ends.ends and not any(label in ends.ends for sequence in sequences for label in sequence.labels):
        truncated_rows = sum(row.is_cut for row in data.rows)
        findings.append(
            Finding(
                "end_never_trained",
                "no EOS token has loss",
                "The model would not learn to stop"
                + (
                    f": {truncated_rows} of {counted(len(data.rows), 'row')} "
                    f"{'is' if truncated_rows == 1 else 'are'} truncated."
                    if truncated_rows
                    else "."
                ),
                "Raise training.max_length."
                if truncated_rows
                else "Use a template that ends answers with the EOS token.",
            )
        )
    elif between := _without_end(sequences, ends):
        unended, answers = between
        findings.append(
            Finding(
                "end_never_trained",
                "answers that another turn follows do not end in an EOS token",
                f"{unended} of {counted(answers, 'such answer')} {'lacks' if unended == 1 else 'lack'} it: the "
                "template writes it at a conversation's end only, so "
                "the model would learn not to stop.",
                "Use a template that ends every answer with the EOS token, or rows with one answer each.",
            )
        )
    doubled = [ends.begin] * 2
    if ends.begin is not None and any(sequence.ids[:2] == doubled for sequence in sequences):
        line = next(
            row.line for row in data.rows for sequence in row.sequences() if sequence.ids[:2] == doubled
        )
        findings.append(
            Finding(
                "doubled_start",
                "rows begin with two BOS tokens",
                f"Row {line}: the text has one, and the tokenizer adds another; the model has never seen that.",
                "Remove the BOS token from the texts.",
            )
        )
    highest = max((max(sequence.ids) for sequence in sequences if sequence.ids), default=0)
    if ends.vocabulary is not None and highest >= ends.vocabulary:
        findings.append(
            Finding(
                "tokens_unknown",
                "the rows have token IDs that the model does not have",
                f"Token {highest} is outside its vocabulary of {ends.vocabulary}; the first step would fail.",
                "Use the model's own tokenizer.",
            )
        )
    if ends.context is not None and data.longest > ends.context:
        findings.append(
            Finding(
                "beyond_context",
                "rows are longer than the model's context",
                f"The longest has {counted(data.longest, 'token')}, and its context is {ends.context}.",
                f"Set training.max_length to at most {ends.context}.",
            )
        )
    return findings


def _without_end(sequences: Sequence[TokenSequence], ends: Ends) -> tuple[int, int] | None:
    """(answers without an EOS token, answers) of those that another one follows; None where most have one.

    The last answer of a sequence may lack it because it is truncated.
    """
    answers = [answer for sequence in sequences for answer in answers_in(sequence)[:-1]]
    unended = sum(not any(token in ends.ends for token in answer) for answer in answers)
    return (unended, len(answers)) if answers and 2 * unended > len(answers) else None


def answers_in(sequence: TokenSequence) -> list[list[int]]:
    """Each run of tokens with loss, other tokens between them."""
    runs = groupby(sequence.labels, key=lambda label: label != IGNORED)
    return [list(labels) for is_answer, labels in runs if is_answer]


def doubled_ends(data: TokenisedData[Any], ends: Ends) -> int:
    """How many rows end with two EOS tokens that both have loss; the model would learn to emit both."""
    last_two = (
        [sequence.trained[-2:] for sequence in row.sequences() if len(sequence.trained) >= 2]
        for row in data.rows
    )
    return sum(any(first == last and last in ends.ends for first, last in pairs) for pairs in last_two)


def merged_tokens(data: TokenisedData[Any]) -> list[tuple[str, str]]:
    """(warning, what to do) for rows of which an answer's first token begins within the prompt, by what is in it."""
    found = []
    for kind in KINDS:
        lines = [*dict.fromkeys(str(row.line) for row in data.rows if row.merges == kind)]
        if lines:
            shown = f"{'row' if len(lines) == 1 else 'rows'} {', '.join(lines[:5])}"
            more = f", ... {len(lines):,} in all" if len(lines) > 5 else ""
            found.append((f"{WHAT[0].upper()}{WHAT[1:]} ({shown}{more}).", merge_hint(kind)))
    return found


def look_at_first_batch(job: Job, trainer: Any) -> list[Finding]:
    """Findings in the first collated rows and in the base's loss on them; changes no weights and no random state."""
    columns = set(trainer.train_dataset.column_names)
    if not {"input_ids", "labels"} <= columns:
        return []  # pairs are collated side by side, and their first loss is not informative
    rows = [dict(trainer.train_dataset[n]) for n in range(min(8, len(trainer.train_dataset)))]
    findings = _masked_ends(
        rows, trainer.data_collator([dict(row) for row in rows]), trainer.processing_class.eos_token_id
    )
    if job.resume_from is None:
        shortest = min(rows, key=lambda row: len(row["input_ids"]))
        findings += _odd_loss(trainer.model, trainer.data_collator([shortest]))
    return findings


def _masked_ends(rows: list[dict[str, Any]], batch: dict[str, Any], end: int | None) -> list[Finding]:
    """A finding if collating removes the loss of EOS tokens, as happens when EOS is also the pad token."""
    wanted = sum(label == end for row in rows for label in row["labels"])
    left = int((batch["labels"] == end).sum())
    if end is None or left >= wanted:
        return []
    return [
        Finding(
            "end_masked",
            "the EOS token has no loss because it is also the pad token",
            f"{wanted - left} of the first {wanted} EOS tokens are masked, so the model would not learn to stop.",
            "Use a tokenizer with a different pad token.",
        )
    ]


def _odd_loss(model: Any, batch: dict[str, Any]) -> list[Finding]:
    """A finding if the base's loss is not finite, almost zero, or worse than a uniform guess."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            inputs = {
                key: value.to(model.device)
                for key, value in batch.items()
                if key in ("input_ids", "attention_mask", "position_ids") and isinstance(value, torch.Tensor)
            }
            logits = model(**inputs, use_cache=False).logits[:, :-1]
            labels = batch["labels"].to(logits.device)
            fused = model(**inputs, labels=labels, fused_lm_head=True, use_cache=False).log_probs
    finally:
        model.train(was_training)
    labels = labels[:, 1:]
    counts = labels != IGNORED
    loss = float(torch.nn.functional.cross_entropy(logits[counts].float(), labels[counts]))
    _require_own_loss(model, loss, float(-fused.float().sum() / counts.sum()))
    most = math.log(logits.shape[-1]) + UNIFORM_MARGIN
    if math.isfinite(loss) and LEAST_LOSS <= loss <= most:
        return []
    problem = (
        "is not finite"
        if not math.isfinite(loss)
        else f"is {loss:.3g}: {'worse than a uniform guess' if loss > most else 'there is nothing left to learn'}"
    )
    return [
        Finding(
            "odd_first_loss",
            "the base's loss on the first rows is implausible",
            f"It {problem}; bases have between {LEAST_LOSS:g} and {most:.1f} on ordinary text.",
            "Check that model, tokenizer and template match, and the precision.",
        )
    ]


def _require_own_loss(model: Any, own: float, trained: float) -> None:
    """Raise InputError where the loss that the trainer computes is not that of the model's own logits.

    TRL multiplies hidden states and output layer itself, which leaves out what some models compute between or after.
    """
    if not math.isfinite(own) or abs(own - trained) <= max(OTHER_LOSS, OTHER_LOSS * own):
        return
    raise InputError(
        "The trainer's loss is not the model's",
        f"On the first row TRL's fused output layer gives a loss of {trained:.3g}, and the logits of "
        f"{model.config.model_type} give {own:.3g}.",
        "Use another model: this one would be trained on another objective.",
    )


def before_loading(
    job: Job,
    reading: Reading,
    data: TokenisedData[Any],
    tokenizer: PreTrainedTokenizerBase,
    location: str,
    revision: str | None,
) -> None:
    """Check the rows before the model is loaded. Raises InputError, which ends the run before its first step."""
    from transformers import AutoConfig, GenerationConfig

    from tuner_tui.worker.model.loading import may_run_code

    spec = job.spec
    is_code_trusted = may_run_code(spec.model, location, revision)
    try:
        config = AutoConfig.from_pretrained(location, revision=revision, trust_remote_code=is_code_trusted)
    except Exception as error:  # loading the model reports what is wrong with it
        _log.warning("the model's configuration cannot be read: %s", error)
        config = None
    try:
        generation = GenerationConfig.from_pretrained(location, revision=revision or "main").eos_token_id
    except (OSError, ValueError):  # most bases have none
        generation = None
    listed = generation if isinstance(generation, list) else [generation]
    ends = ends_of(tokenizer, config, [token for token in listed if isinstance(token, int)])
    findings = look(data, ends, spec.training.max_length)
    if tokenizer.chat_template:
        findings += missing_template(spec.data, tokenizer, has_turns(reading, spec.method.kind))
        findings += dropped_turns(
            reading,
            tokenizer,
            own_options.loss_on(spec.method),
            method=spec.method.kind,
            doubtful={row.line for row in (*data.rows, *data.dropped) if row.is_doubtful},
        )
    if doubled_rows := doubled_ends(data, ends):
        job.warn(
            f"{counted(doubled_rows, 'row ends', 'rows end')} with two EOS tokens that both have loss.",
            "Remove the EOS token from the texts or from the template.",
        )
    for warning in merged_tokens(data):
        job.warn(*warning)
    settle(job, findings)


def before_first_step(job: Job, trainer: Any) -> None:
    """Check the first batch once the trainer exists. Raises InputError, which ends the run before its first step."""
    try:
        findings = look_at_first_batch(job, trainer)
    except TunerError:
        raise
    except (RuntimeError, IndexError) as error:
        from tuner_tui.worker.model.loading import is_out_of_memory

        if is_out_of_memory(error):
            raise
        _log.exception("the first batch cannot be checked")
        return
    settle(job, findings)
