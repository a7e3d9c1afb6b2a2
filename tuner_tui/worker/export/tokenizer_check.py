"""Checks that an exported tokenizer equals the trained one: template, special tokens, same token IDs for same text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gguf

from tuner_tui.errors import TunerError
from tuner_tui.worker.export.gguf_tokenizer import NO_MERGE, begins_with_bos
from tuner_tui.worker.text.named_templates import default_template
from tuner_tui.worker.text.rendering import render

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase

NEXT = "Keep the run, and report this with the versions that `tuner-tui doctor` shows."


def require_same_tokenizer(
    trained: PreTrainedTokenizerBase, exported: PreTrainedTokenizerBase, prompts: Sequence[str]
) -> None:
    """Raise TunerError naming the first difference."""
    if trained.chat_template != exported.chat_template:
        raise _differs("the chat template", str(trained.chat_template), str(exported.chat_template))
    for kind in ("bos", "eos", "unk"):
        wanted, actual = getattr(trained, f"{kind}_token"), getattr(exported, f"{kind}_token")
        if wanted != actual:
            raise _differs(f"the {kind} token", str(wanted), str(actual))
    for prompt in prompts:
        if (wanted_ids := encode(trained, prompt)) != (actual_ids := encode(exported, prompt)):
            at = next(
                (i for i, pair in enumerate(zip(wanted_ids, actual_ids, strict=False)) if pair[0] != pair[1]),
                min(len(wanted_ids), len(actual_ids)),
            )
            raise _differs(
                f"token {at + 1} of prompt {prompt!r}", str(wanted_ids[at:][:5]), str(actual_ids[at:][:5])
            )


def require_same_gguf_tokenizer(trained: PreTrainedTokenizerBase, file: Path, prompts: Sequence[str]) -> None:
    """Compare a GGUF's metadata with the trained tokenizer, and its tokens through transformers' GGUF reader."""
    from transformers import AutoTokenizer

    fields = gguf.GGUFReader(file).fields
    keys = gguf.Keys.Tokenizer

    def metadata(key: str) -> object:
        return fields[key].contents() if key in fields else None

    wanted = {
        keys.CHAT_TEMPLATE: default_template(trained),
        keys.BOS_ID: trained.bos_token_id,
        keys.EOS_ID: trained.eos_token_id,
        keys.ADD_BOS: begins_with_bos(trained),
    }
    for key, value in wanted.items():
        if metadata(key) != value:
            raise _differs(key, str(value), str(metadata(key)))
    tokens = fields[keys.LIST].contents()
    for token, number in trained.get_vocab().items():
        if tokens[number] != token:
            raise _differs(f"token {number}", token, str(tokens[number]))
    if fields[keys.MERGES].contents() == [
        NO_MERGE
    ]:  # transformers' reader requires the merged token to exist
        return
    reader = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    for prompt in prompts:
        # transformers' reader always pre-tokenizes as GPT-2 does, so only plain words can be compared
        if prompt.replace(" ", "").isalpha() and not begins_with_bos(trained):
            ids, again = trained(prompt)["input_ids"], reader(prompt)["input_ids"]
            if ids != again:
                raise _differs(f"the tokens of {prompt!r}", str(ids), str(again))


def encode(tokenizer: PreTrainedTokenizerBase, prompt: str) -> list[int]:
    """A prompt's tokens as the model gets them, with the chat template if there is one."""
    if tokenizer.chat_template:
        messages = [{"role": "user", "content": prompt}]
        text = render(tokenizer, messages, str(tokenizer.name_or_path), asks_for_answer=True)
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])
    return list(tokenizer(prompt)["input_ids"])


def _differs(what: str, wanted: str, actual: str) -> TunerError:
    return TunerError(
        "The exported tokenizer differs from the trained one",
        f"{what} differs: trained {wanted[:120]!r}, exported {actual[:120]!r}.",
        NEXT,
    )
