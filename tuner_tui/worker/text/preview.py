"""The token microscope's worker: shows of a row what the trainer is fed, by the functions that feed it."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
from transformers import AutoTokenizer

from tuner_tui.config.methods.sft import PACKING_STRATEGY
from tuner_tui.config.methods.traits import method_traits
from tuner_tui.data.recognition.reading import Reading, plain_rows
from tuner_tui.data.rows.for_method import OtherMethod, plain_for
from tuner_tui.data.rows.preference import pair_of, rated_of
from tuner_tui.data.rows.types import example_of, kwargs_in, message_of, tools_in
from tuner_tui.data.tokens.conversations import conversations_in
from tuner_tui.data.tokens.left_out import words_of
from tuner_tui.data.tokens.microscope import LookReply, LookRequest, Sequence, Token
from tuner_tui.data.tokens.template import template_text
from tuner_tui.errors import InputError, TunerError
from tuner_tui.files import settle_modes
from tuner_tui.models import dequantised
from tuner_tui.text import counted, listed
from tuner_tui.worker.text import rendering
from tuner_tui.worker.text.preference_tokens import tokenise_answer, tokenise_pair, trains_cut_rows
from tuner_tui.worker.text.token_cache import tokenise_file
from tuner_tui.worker.text.tokenizer_trial import require_loadable_tokenizer
from tuner_tui.worker.text.tokens import (
    IGNORED,
    encode,
    render,
    render_conversation,
    tokenise,
    turns_for,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tuner_tui.config.methods.traits import MethodKind
    from tuner_tui.config.spec import DataShape
    from tuner_tui.data.files.rows import Found
    from tuner_tui.data.rows.types import Shape
    from tuner_tui.worker.text.tokenised import TokenSequence
    from tuner_tui.worker.text.tokens import Tokenised

NO_LIMIT = 1 << 30
PACKED_ROWS = 20_000
"""Rows that packing is shown of; more take too long to look at."""
PROMPT_NOTE = "The ordinary loss on the chosen side is taken over its prompt, too, as TRL's trainer has it."


def main() -> int:
    """Answer requests, one JSON object a line, until the input ends; what libraries print goes to stderr."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    tokenizers: dict[tuple[Any, ...], PreTrainedTokenizerBase] = {}
    answers.write(msgspec.json.encode({"ready": True}) + b"\n")
    answers.flush()
    for line in sys.stdin.buffer:
        answers.write(msgspec.json.encode(answer(line, tokenizers)) + b"\n")
        answers.flush()
    return 0


def answer(line: bytes, tokenizers: dict[tuple[Any, ...], PreTrainedTokenizerBase]) -> LookReply:
    """What is shown for a request; a failure becomes words."""
    try:
        request = msgspec.json.decode(line, type=LookRequest)
        key = (request.model_location, request.revision, request.template)
        if key not in tokenizers:
            tokenizers[key] = load_tokenizer(request)
        return look(request, tokenizers[key])
    except TunerError as error:
        return LookReply(problem=f"{error.title}: {error.message}", hint=error.hint)
    except Exception as error:  # the screen that asked must go on
        import logging

        logging.getLogger(__name__).exception("a look failed")
        return LookReply(problem=f"The row cannot be shown: {type(error).__name__}: {error}")


def load_tokenizer(request: LookRequest) -> PreTrainedTokenizerBase:
    """The tokenizer that a run would load. Raises InputError."""
    path = Path(request.model_location)
    options: dict[str, Any] = {"revision": request.revision} if request.revision else {}
    location = request.model_location
    if request.model_kind == "gguf":
        location, options = str(_written_out(path)), {}
    try:
        require_loadable_tokenizer(location, request.revision)
        tokenizer = cast("PreTrainedTokenizerBase", AutoTokenizer.from_pretrained(location, **options))
    except InputError:
        raise
    except Exception as error:
        raise InputError("The tokenizer cannot be loaded", f"{location}: {error}") from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if request.template:
        tokenizer.chat_template = template_text(request.template)
    return tokenizer


def _written_out(gguf: Path) -> Path:
    """The folder with a GGUF file's tokenizer, written out on first use since that takes long. Raises InputError."""
    fingerprint = dequantised.fingerprint(gguf)
    made = dequantised.entry_folder(fingerprint)
    if dequantised.is_complete(made):
        return made
    tokenizer_folder = dequantised.tokenizer_entry(fingerprint)
    if not (tokenizer_folder / "tokenizer.json").is_file():
        try:
            tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        except Exception as error:
            raise InputError("The tokenizer cannot be loaded", f"{gguf}: {error}") from error
        dequantised.owned_tokenizers().claim()
        with tempfile.TemporaryDirectory(dir=tokenizer_folder.parent) as making:
            tokenizer.save_pretrained(making)
            settle_modes(Path(making))
            shutil.copytree(
                making, tokenizer_folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("tokenizer.json")
            )
            shutil.copy(
                Path(making) / "tokenizer.json", tokenizer_folder
            )  # the last one: it says that all are there
    return tokenizer_folder


def look(request: LookRequest, tokenizer: PreTrainedTokenizerBase) -> LookReply:
    """What the trainer is fed of a row. Raises InputError for a row that is not there or cannot be read."""
    reading = Reading(
        Path(request.path),
        cast("DataShape", request.shape),
        None,
        request.split,
        request.encoding,
        request.mapping,
        request.fixes,
        chunk_bytes=request.chunk_bytes,
    )
    traits = method_traits(request.method)
    try:
        plain = plain_for(cast("MethodKind", request.method), reading)
    except OtherMethod:
        plain = plain_rows(reading)
    found = next(islice(plain.rows, request.row - 1, request.row), None)
    if found is None:
        raise InputError(
            "There is no such row", f"{request.path} has fewer than {counted(request.row, 'row')}."
        )
    if isinstance(found.row, InputError):
        raise found.row
    if request.packing and traits.rows == "examples":
        shown = _packed(request, reading, found, tokenizer)
    else:
        shown = _sequences(request, plain.layout.shape, found, tokenizer)
    left_out = _left_out(request, found, plain.layout.shape, tokenizer)
    return LookReply(tuple(shown), found.number, plain.layout.shape, tuple(left_out))


def _left_out(
    request: LookRequest, found: Found, shape: Shape, tokenizer: PreTrainedTokenizerBase
) -> list[str]:
    """What the template leaves out of a row, each once."""
    conversations = conversations_in(found, shape)
    if not conversations or not tokenizer.chat_template:
        return []
    looks = rendering.look_for_parts(tokenizer, conversations, is_trained_whole=request.loss_on == "all")
    return [*dict.fromkeys(words for look in looks for words in words_of(look.dropped))]


def _sequences(
    request: LookRequest, shape: str, found: Found, tokenizer: PreTrainedTokenizerBase
) -> list[Sequence]:
    row, where, traits = cast("dict[str, Any]", found.row), str(found.file), method_traits(request.method)
    if shape == "prompts" or traits.generates:
        return [_prompt(row, tokenizer, where)]
    if shape not in traits.dataset_types:
        raise InputError(
            "The method does not train on this dataset type",
            f"{where}: dataset type {shape}; {request.method} trains on {listed(traits.dataset_types)}.",
            "Use another method or other rows, or set data.mapping.",
        )
    limited, whole = (
        _tokenised(request, shape, found, tokenizer, limit) for limit in (request.max_length, NO_LIMIT)
    )
    texts = _texts(row, shape, found, tokenizer, request.loss_on)
    shown = []
    for number, (cut_row, full_row) in enumerate(zip(limited, whole, strict=True), 1):
        is_dropped = not cut_row.trained_tokens or (cut_row.is_cut and not trains_cut_rows(request.method))
        for cut, full in zip(cut_row.sequences(), full_row.sequences(), strict=True):
            if len(limited) > 1:
                full = full._replace(title=f"answer {number} of {len(limited)}")
            text = texts[number - 1] if texts else None
            shown.append(_shown(request, cut, full, text, tokenizer, is_dropped=is_dropped))
    return shown


def _tokenised(
    request: LookRequest, shape: str, found: Found, tokenizer: PreTrainedTokenizerBase, limit: int
) -> list[Tokenised]:
    """A row's tokens within a length limit, by the functions that feed the trainer."""
    row, where = cast("dict[str, Any]", found.row), str(found.file)
    match shape:
        case "preference":
            return [tokenise_pair(pair_of(row, found.file, found.number), tokenizer, limit, where)]
        case "rated":
            return [tokenise_answer(rated_of(row, found.file, found.number), tokenizer, limit, where)]
        case _:
            example = example_of(row, found.file, found.number)
            return [*tokenise(example, tokenizer, limit, request.loss_on, where)]


def _texts(
    row: dict[str, Any], shape: str, found: Found, tokenizer: PreTrainedTokenizerBase, loss_on: str
) -> list[tuple[str, list[str]]]:
    """(text, what the row itself says in it) of each sequence of an example; none for rows with answers apart."""
    if shape in ("preference", "rated"):
        return []
    example = example_of(row, found.file, found.number)
    if not example.messages:
        return [(example.prompt + example.text, [example.prompt + example.text])]
    message_texts = [text for message in example.messages for text in message.texts]
    tools, kwargs = example.tools, example.template_kwargs
    if loss_on == "all":
        turns = turns_for(example.messages, tokenizer)
        return [(render(turns, tokenizer, "", tools=tools, template_kwargs=kwargs), message_texts)]
    return [
        (each.text, message_texts)
        for each in render_conversation(example.messages, tokenizer, "", tools, kwargs)
    ]


def _shown(
    request: LookRequest,
    cut: TokenSequence,
    full: TokenSequence,
    text: tuple[str, list[str]] | None,
    tokenizer: PreTrainedTokenizerBase,
    *,
    is_dropped: bool,
) -> Sequence:
    """A sequence with what the length limit cuts; without its text, special tokens count as the template's."""
    traits = method_traits(request.method)
    is_scored = traits.output == "scores"
    if text is not None:
        own = _own(full.ids, text, tokenizer)
    else:
        own = [token not in tokenizer.all_special_ids for token in full.ids]
    tokens = tuple(
        Token(
            token,
            _said(token, tokenizer),
            full.labels[place] != IGNORED and place > 0 and not is_scored,
            place >= len(cut.ids),
            not own[place],
            token == tokenizer.eos_token_id,
        )
        for place, token in enumerate(full.ids)
    )
    notes = _notes(cut.ids, cut.labels, tokenizer)
    if traits.loss_on_chosen_prompt and full.title == "chosen":
        notes.append(PROMPT_NOTE)
    if is_scored:
        notes.append("A reward model scores the whole sequence; no single token has loss.")
    return Sequence(full.title, tokens, is_dropped, tuple(notes))


def _own(ids: list[int], text: tuple[str, list[str]], tokenizer: PreTrainedTokenizerBase) -> list[bool]:
    """Which tokens are the row's own words; the rest is the template's."""
    whole, message_texts = text
    own = [False] * len(ids)
    for has_special in (False, True):
        again, places = encode(whole, tokenizer, add_special_tokens=has_special)
        if again == ids[: len(again)]:
            break
    else:
        return own
    at = 0
    for part in message_texts:
        begin = whole.find(part.strip(), at)
        if begin < 0 or not part.strip():
            continue
        at = begin + len(part.strip())
        for place, (left, right) in enumerate(places):
            own[place] = own[place] or (begin <= left < at and right > left)
    return own


def _prompt(row: dict[str, Any], tokenizer: PreTrainedTokenizerBase, where: str) -> Sequence:
    """What answers are generated from."""
    prompt = row.get("prompt", row.get("messages"))
    if isinstance(prompt, list):
        text = render(
            turns_for(map(message_of, prompt), tokenizer),
            tokenizer,
            where,
            asks_for_answer=True,
            tools=tools_in(row),
            template_kwargs=kwargs_in(row),
        )
        ids, _ = encode(text, tokenizer, add_special_tokens=False)
    else:
        ids, _ = encode(str(prompt), tokenizer, add_special_tokens=True)
    special = set(tokenizer.all_special_ids)
    tokens = tuple(
        Token(token, _said(token, tokenizer), False, False, token in special, token == tokenizer.eos_token_id)
        for token in ids
    )
    return Sequence("prompt that is answered", tokens)


def _packed(
    request: LookRequest, reading: Reading, found: Found, tokenizer: PreTrainedTokenizerBase
) -> list[Sequence]:
    """The packed sequences that hold tokens of a row: the trainer's own packing of the whole data set."""
    from datasets import Dataset
    from trl.data_utils import pack_dataset

    data = tokenise_file(
        Reading(**{**vars(reading), "limit": PACKED_ROWS}), tokenizer, request.max_length, request.loss_on
    )
    whole = Dataset.from_dict(
        {
            "input_ids": [row.input_ids for row in data.rows],
            "labels": [row.labels for row in data.rows],
            "line": [[row.line] * len(row.input_ids) for row in data.rows],
        }
    )
    packed = pack_dataset(whole, request.max_length, PACKING_STRATEGY)
    shown = []
    for number, sequence in enumerate(packed, 1):
        if found.number not in sequence["line"]:
            continue
        rows = _row_places(sequence)
        tokens = tuple(
            Token(
                token,
                _said(token, tokenizer),
                sequence["labels"][place] != IGNORED
                and (place == 0 or rows[place] == rows[place - 1])
                and place > 0,
                False,
                token in tokenizer.all_special_ids,
                token == tokenizer.eos_token_id,
                rows[place],
            )
            for place, token in enumerate(sequence["input_ids"])
        )
        lines = ", ".join(map(str, dict.fromkeys(sequence["line"])))
        shown.append(Sequence(f"packed sequence {number}: rows {lines}", tokens))
    if not shown:
        return [Sequence("row", (), is_dropped=True)]
    return shown


def _row_places(sequence: dict[str, Any]) -> list[int]:
    """Which of a packed sequence's rows each token belongs to."""
    lengths = sequence.get("seq_lengths") or [len(sequence["input_ids"])]
    return [place for place, length in enumerate(lengths) for _ in range(length)]


def _said(token: int, tokenizer: PreTrainedTokenizerBase) -> str:
    return str(tokenizer.decode([token], clean_up_tokenization_spaces=False))


def _notes(ids: list[int], labels: list[int], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """What is odd about a sequence."""
    notes = []
    end, begin = tokenizer.eos_token_id, tokenizer.bos_token_id
    learnt = [place for place, label in enumerate(labels) if label != IGNORED]
    if learnt and end is not None:
        last = learnt[-1]
        if ids[last] != end and end not in (ids[place] for place in learnt):
            notes.append("The EOS token has no loss here.")
        if last and ids[last] == ids[last - 1] == end and labels[last - 1] != IGNORED:
            notes.append("Two EOS tokens have loss.")
    if begin is not None and ids[:2] == [begin, begin]:
        notes.append("The row begins with two BOS tokens.")
    return notes
