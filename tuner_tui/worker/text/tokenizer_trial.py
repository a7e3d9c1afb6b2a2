"""A tokenizer is loaded in a limited child before the worker loads it: its library knows no limits."""

from __future__ import annotations

import logging
from pathlib import Path

from tuner_tui import guarded
from tuner_tui.data.tokens.template import load_model_text
from tuner_tui.errors import InputError
from tuner_tui.limited.limits import LimitReached

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
)
_log = logging.getLogger(__name__)


def require_loadable_tokenizer(location: str, revision: str | None = None) -> None:
    """Load a tokenizer in a limited child first. Raises LimitReached for one that takes too much time or memory.

    Other faults are left to transformers, which reads more kinds of tokenizers.
    """
    from huggingface_hub import try_to_load_from_cache

    path: object = Path(location) / "tokenizer.json"
    if not Path(location).is_dir():
        path = try_to_load_from_cache(location, "tokenizer.json", revision=revision)
    if not isinstance(path, str | Path) or not Path(path).exists():
        return
    folder = Path(path).parent
    for name in TOKENIZER_FILES:
        if (folder / name).exists():
            guarded.open_regular(folder / name).close()
    try:
        load_model_text(folder).close()
    except LimitReached:
        raise
    except InputError as error:
        _log.warning("the limited child cannot load the tokenizer: %s", error)
