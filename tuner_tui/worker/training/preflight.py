"""What is looked at before the first step: findings that would ruin a run stop it, unless they are allowed by name."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from itertools import groupby, islice
from typing import TYPE_CHECKING, Any

import torch

from tuner_tui import guarded
from tuner_tui.data.recognition.reading import plain_rows
from tuner_tui.data.tokens.template import CHATML, template_text
from tuner_tui.errors import InputError, TunerError
from tuner_tui.files import write_atomic
from tuner_tui.guarded import Unreadable
from tuner_tui.text import listed
from tuner_tui.worker.text.tokens import IGNORED, render
from tuner_tui.worker.training.dropped_parts import dropped_parts

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from transformers import PreTrainedTokenizerBase

    from tuner_tui.config.data_section import Allowed, DataSpec
    from tuner_tui.data.recognition.reading import Reading
    from tuner_tui.worker.job import Job
    from tuner_tui.worker.text.tokenised import TokenSequence
    from tuner_tui.worker.text.tokens import TokenisedData

LOOKED_AT_ROWS = 200
"""Rows of which all parts are looked for in what the template writes."""
LEAST_LOSS, UNIFORM_MARGIN = 1e-3, 1.0
"""A base's loss on text lies above the first, and below that of guessing among all tokens (ln V) plus the second."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finding:
    """One thing that is likely to waste the run."""

    name: Allowed
    what: str
    why: str
    how: str
    """What to do about it."""


def settle(job: Job, findings: Iterable[Finding]) -> None:
    """Go on in spite of what data.allow names, and record that; raise InputError for the rest, which ends the run."""
    findings = list(findings)
    refused = [each for each in findings if each.name not in job.spec.data.allow]
    if refused:
        first = refused[0]
        more = f" Also found: {', '.join(each.name for each in refused[1:])}." if refused[1:] else ""
        raise InputError(
            f"Stopped before the first step: {first.what}",
            f"{first.why}{more}",
            f'{first.how} To go on all the same, add "{first.name}" to data.allow.',
        )
    for each in findings:
        job.warn(f"Allowed by data.allow: {each.name}: {each.what}. {each.why}", each.how)
    if findings:
        _record(job, findings)


def _record(job: Job, findings: Sequence[Finding]) -> None:
    """Add to the run's report what it went on in spite of."""
    path = job.folder.report
    try:
        before = guarded.read_text(path) if path.exists() else ""
        heading = "## Went on in spite of\n"
        lines = [f"- `{each.name}`: {each.what}. {each.why}\n" for each in findings]
        new = "".join(line for line in lines if line not in before)
        if new:
            write_atomic(path, f"{before}{'' if heading in before else heading + chr(10)}{new}")
    except (OSError, Unreadable) as error:  # the events have it, too
        _log.error("the report cannot be written: %s", error)


def choose_template(spec: DataSpec, tokenizer: PreTrainedTokenizerBase) -> list[Finding]:
    """Give the tokenizer the template that data.template names; a finding where that changes or invents one."""
    own = tokenizer.chat_template
    if spec.template is not None:
        tokenizer.chat_template = template_text(spec.template)
        if own and own != tokenizer.chat_template:
            return [
                Finding(
                    "template_changed",
                    "the chat template is not the base's own",
                    "The base was taught with another one; it has to learn this one first, as other tools must.",
                    "Leave data.template out to take the base's own.",
                )
            ]
    elif not own and "template_missing" in spec.allow:
        tokenizer.chat_template = CHATML
    return []


def chosen_template(spec: DataSpec, tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The template that a run took in place of the base's own; None where it took that."""
    template = tokenizer.chat_template
    is_invented = "template_missing" in spec.allow and template == CHATML
    return template if isinstance(template, str) and (spec.template is not None or is_invented) else None


def _has_turns(reading: Reading) -> bool:
    return any(
        isinstance(found.row, dict) and bool(_conversations(found.row))
        for found in islice(plain_rows(reading).rows, 1)
    )


def missing_template(spec: DataSpec, tokenizer: PreTrainedTokenizerBase, has_turns: bool) -> list[Finding]:
    """A finding where a template had to be invented because the model has none."""
    if not has_turns or spec.template is not None or chosen_template(spec, tokenizer) is None:
        return []
    return [
        Finding(
            "template_missing",
            "the model has no chat template",
            "ChatML was taken; its marks are new to the base.",
            "Take an instruct model, or set data.template.",
        )
    ]


def dropped_turns(
    reading: Reading, tokenizer: PreTrainedTokenizerBase, loss_on: str = "answers", most: int = LOOKED_AT_ROWS
) -> list[Finding]:
    """A finding where what the template writes lacks a part of what the rows say."""
    seen: dict[str, str] = {}
    for found in islice(plain_rows(reading).rows, most):
        if isinstance(found.row, InputError):
            continue
        where = f"{found.file}:{found.number}"

        def write(turns: Sequence[dict[str, Any]], tools: Sequence[Any], where: str = where) -> str:
            return render([*turns], tokenizer, where, tools=tools)

        for turns, context in _conversations(found.row):
            for part in dropped_parts(
                turns,
                found.row.get("tools") or (),
                write,
                first_answer=context,
                one_by_one="messages" in found.row and loss_on == "answers",
            ):
                turn = "" if part.place is None else f" in turn {part.place + 1}"
                seen.setdefault(part.what, f"{where}: nowhere in what the model is fed{turn}.")
    if not seen:
        return []
    return [
        Finding(
            "template_drops_turns",
            f"the chat template leaves out {listed(list(seen), 'and')}",
            " ".join(f"{what.capitalize()}: {place}" for what, place in seen.items())
            if len(seen) > 1
            else next(iter(seen.values())),
            "Take that out of the rows, or take a model or a data.template with a place for it.",
        )
    ]


def _conversations(row: dict[str, Any]) -> list[tuple[list[dict[str, Any]], int]]:
    """The whole conversations of a row, one or one a side, each with how many of its turns are no answer's."""
    if "messages" in row:
        return [(row["messages"], 0)]
    prompt = row.get("prompt")
    sides = [row[side] for side in ("completion", "chosen", "rejected") if isinstance(row.get(side), list)]
    asked = prompt if isinstance(prompt, list) else []
    whole = [side if side[: len(asked)] == asked else [*asked, *side] for side in sides]
    return [(turns, len(asked)) for turns in whole]


@dataclass(frozen=True)
class Ends:
    """The tokens at which a model stops, and the one that begins a text."""

    ends: frozenset[int]
    begin: int | None
    vocabulary: int | None
    context: int | None


def ends_of(tokenizer: PreTrainedTokenizerBase, config: Any, generation_ends: Sequence[int] = ()) -> Ends:
    """What the model's configuration and tokenizer say."""
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    end = getattr(text, "eos_token_id", None)
    ends = {tokenizer.eos_token_id, *(end if isinstance(end, list) else [end]), *generation_ends}
    return Ends(
        frozenset(each for each in ends if isinstance(each, int)),
        tokenizer.bos_token_id,
        getattr(text, "vocab_size", None),
        getattr(text, "max_position_embeddings", None),
    )


def look(data: TokenisedData[Any], ends: Ends, max_length: int) -> list[Finding]:
    """Findings in the tokens that the trainer will be fed."""
    found = []
    sequences = [sequence for row in data.rows for sequence in row.sequences()]
    if data.dropped:
        lines = ", ".join(str(row.line) for row in data.dropped[:5])
        found.append(
            Finding(
                "nothing_trained",
                f"{len(data.dropped)} rows have no trained token",
                f"Rows {lines}{', ...' if len(data.dropped) > 5 else ''} teach nothing within {max_length} tokens; "
                "they are left out.",
                "Raise training.max_length, or take them out.",
            )
        )
    if ends.ends and not any(label in ends.ends for sequence in sequences for label in sequence.labels):
        cut = sum(row.is_cut for row in data.rows)
        found.append(
            Finding(
                "end_never_trained",
                "the end token is never trained",
                "The model would not learn to stop"
                + (f": {cut} of {len(data.rows)} rows are cut before their end." if cut else "."),
                "Raise training.max_length."
                if cut
                else "Take a template that ends answers with the end token.",
            )
        )
    elif between := _without_end(sequences, ends):
        unended, answers = between
        found.append(
            Finding(
                "end_never_trained",
                "answers that another turn follows do not end in an EOS token",
                f"{unended} of {answers} such answers lack it: the template writes it at a conversation's end only, so "
                "the model would learn not to stop.",
                "Take a template that ends every answer with the EOS token, or rows with one answer each.",
            )
        )
    doubled = [ends.begin] * 2
    if ends.begin is not None and any(sequence.ids[:2] == doubled for sequence in sequences):
        line = next(
            row.line for row in data.rows for sequence in row.sequences() if sequence.ids[:2] == doubled
        )
        found.append(
            Finding(
                "doubled_start",
                "rows begin with two start tokens",
                f"Row {line}: the text has one, and the tokenizer adds another; the model never saw that.",
                "Take the start token out of the texts.",
            )
        )
    highest = max((max(sequence.ids) for sequence in sequences if sequence.ids), default=0)
    if ends.vocabulary is not None and highest >= ends.vocabulary:
        found.append(
            Finding(
                "tokens_unknown",
                "the rows have tokens that the model lacks",
                f"Token {highest} stands outside its vocabulary of {ends.vocabulary}; the first step would fail.",
                "Take the model's own tokenizer.",
            )
        )
    if ends.context is not None and data.longest > ends.context:
        found.append(
            Finding(
                "beyond_context",
                "rows are longer than the model can see",
                f"The longest has {data.longest} tokens, and its context is {ends.context}.",
                f"Set training.max_length to at most {ends.context}.",
            )
        )
    return found


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
    """How many rows end in two end tokens, both trained; the model would learn to stop twice."""
    last_two = (
        [sequence.trained[-2:] for sequence in row.sequences() if len(sequence.trained) >= 2]
        for row in data.rows
    )
    return sum(any(first == last and last in ends.ends for first, last in pairs) for pairs in last_two)


def look_at_first_batch(job: Job, trainer: Any) -> list[Finding]:
    """Findings in the first rows as they are collated, and in the base's loss on them; trains and draws nothing."""
    columns = set(trainer.train_dataset.column_names)
    if not {"input_ids", "labels"} <= columns:
        return []  # pairs are collated side by side, and their first loss says little
    rows = [dict(trainer.train_dataset[n]) for n in range(min(8, len(trainer.train_dataset)))]
    found = _masked_ends(
        rows, trainer.data_collator([dict(row) for row in rows]), trainer.processing_class.eos_token_id
    )
    if job.resume_from is None:
        shortest = min(rows, key=lambda row: len(row["input_ids"]))
        found += _odd_loss(trainer.model, trainer.data_collator([shortest]))
    return found


def _masked_ends(rows: list[dict[str, Any]], batch: dict[str, Any], end: int | None) -> list[Finding]:
    """A finding where collating takes the loss off end tokens, as happens where they double as padding."""
    wanted = sum(label == end for row in rows for label in row["labels"])
    left = int((batch["labels"] == end).sum())
    if end is None or left >= wanted:
        return []
    return [
        Finding(
            "end_masked",
            "the end token carries no loss because it is also the padding",
            f"{wanted - left} of the first {wanted} end tokens are masked, so the model would not learn to stop.",
            "Take a tokenizer whose padding is another token.",
        )
    ]


def _odd_loss(model: Any, batch: dict[str, Any]) -> list[Finding]:
    """A finding where the base's loss is not finite, next to nothing, or worse than guessing."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            inputs = {
                key: value.to(model.device)
                for key, value in batch.items()
                if key in ("input_ids", "attention_mask", "position_ids") and isinstance(value, torch.Tensor)
            }
            logits = model(**inputs).logits[:, :-1]
    finally:
        model.train(was_training)
    labels = batch["labels"][:, 1:].to(logits.device)
    counts = labels != IGNORED
    loss = float(torch.nn.functional.cross_entropy(logits[counts].float(), labels[counts]))
    most = math.log(logits.shape[-1]) + UNIFORM_MARGIN
    if math.isfinite(loss) and LEAST_LOSS <= loss <= most:
        return []
    told = (
        "is not a number"
        if not math.isfinite(loss)
        else f"is {loss:.3g}: {'worse than guessing' if loss > most else 'nothing is left to learn'}"
    )
    return [
        Finding(
            "odd_first_loss",
            "the base's loss on the first rows is not what it should be",
            f"It {told}; a base gives between {LEAST_LOSS:g} and {most:.1f} on text that is like its own.",
            "Check that model, tokenizer and template belong together, and the precision.",
        )
    ]


def before_loading(
    job: Job,
    reading: Reading,
    data: TokenisedData[Any],
    tokenizer: PreTrainedTokenizerBase,
    location: str,
    revision: str | None,
) -> None:
    """Look at the rows before the model is loaded. Raises InputError, which ends the run before its first step."""
    from transformers import AutoConfig, GenerationConfig

    from tuner_tui.worker.model.loading import may_run_code

    spec = job.spec
    is_code_trusted = may_run_code(spec.model, location, revision)
    try:
        config = AutoConfig.from_pretrained(location, revision=revision, trust_remote_code=is_code_trusted)
    except Exception as error:  # what is wrong with the model is said when it is loaded
        _log.warning("the model's configuration cannot be read: %s", error)
        config = None
    try:
        generation = GenerationConfig.from_pretrained(location, revision=revision or "main").eos_token_id
    except (OSError, ValueError):  # most bases have none
        generation = None
    listed = generation if isinstance(generation, list) else [generation]
    ends = ends_of(tokenizer, config, [each for each in listed if isinstance(each, int)])
    findings = look(data, ends, spec.training.max_length)
    if tokenizer.chat_template:
        findings += missing_template(spec.data, tokenizer, _has_turns(reading)) + dropped_turns(
            reading, tokenizer, getattr(spec.method, "loss_on", "answers")
        )
    if twice := doubled_ends(data, ends):
        job.warn(
            f"{twice} rows end in two end tokens, and both are trained.",
            "Take the end token out of the texts, or its doubling out of the template.",
        )
    settle(job, findings)


def before_first_step(job: Job, trainer: Any) -> None:
    """Look at the first batch once the trainer stands. Raises InputError, which ends the run before its first step."""
    try:
        findings = look_at_first_batch(job, trainer)
    except TunerError:
        raise
    except (RuntimeError, IndexError) as error:
        from tuner_tui.worker.model.loading import is_out_of_memory

        if is_out_of_memory(error):
            raise
        _log.exception("the first batch cannot be looked at")
        return
    settle(job, findings)
