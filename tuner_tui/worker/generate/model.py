"""A loaded base with its adapters, switched by name; the base is loaded once.

PEFT holds adapters of one kind at a time. When one of another kind is to speak, those before it are taken off the base,
and read from their folders again when it is their turn. Whatever an adapter does, the base answers as it did before:
that is looked at whenever an adapter is put on or taken off.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import PeftModel

from tuner_tui.config.spec import DataSpec, ModelSpec, RunSpec
from tuner_tui.config.spec import MachineSpec as Placement
from tuner_tui.config.tunings.lora_start import changes_base
from tuner_tui.data.tokens.template import template_beside
from tuner_tui.errors import InputError
from tuner_tui.models.adapter import is_adapter, read_adapter_facts, require_safetensors
from tuner_tui.models.source import find_source
from tuner_tui.worker.device.machine import Machine, choose_machine
from tuner_tui.worker.model.loading import (
    dequantise_once,
    explain_loading,
    is_out_of_memory,
    load_base,
    load_tokenizer,
)
from tuner_tui.worker.model.plain_lora import as_plain
from tuner_tui.worker.model.same_logits import is_same, logits_of, row_of
from tuner_tui.worker.model.tuning import require_all_loaded
from tuner_tui.worker.text.named_templates import default_template
from tuner_tui.worker.text.rendering import TemplateRefused, render

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedTokenizerBase

    from tuner_tui.generation.messages import Base, Turn
    from tuner_tui.models.adapter import AdapterFacts

_log = logging.getLogger(__name__)


class LoadedModel:
    """A base, its tokenizer, and the adapters requested so far."""

    def __init__(self, base: Base) -> None:
        """Load the base. Raises TunerError."""
        self.base = base
        spec = ModelSpec(
            source=base.source,
            revision=base.revision,
            precision=base.precision,
            trust_remote_code=base.trust_remote_code,
        )
        self._spec = spec
        source = find_source(base.source, base.revision)
        self.name = source.name
        self.machine: Machine = choose_machine(
            RunSpec(model=spec, data=DataSpec(train="-"), machine=Placement(device=base.device))
        )
        if source.kind == "gguf" and source.path is not None:
            location, revision = str(dequantise_once(source.path)), None
        else:
            location, revision = str(source.path or source.repo_id), source.revision
        self._place = location, revision
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(location, revision, spec)
        self._base: Any = self._load_base()
        self.model: Any = self._base
        """The base, or PEFT's model around it."""
        self.virtual_tokens = 0
        """Those of the adapter that speaks, which come before each prompt."""
        self._adapters: dict[tuple[str, int], str] = {}
        """PEFT's names of the adapters on the base."""
        self._kind, self._is_beside = "", True
        self._biases: dict[str, torch.Tensor] = {}
        self._row = row_of(self.tokenizer, self._base)
        self._logits = self._look()
        self._is_base_kept = True
        """Whether the base answers as before while its adapters are off."""

    def _load_base(self) -> Any:
        loaded: Any = load_base(*self._place, self._spec, self.machine)
        return loaded.eval()

    @property
    def context_length(self) -> int | None:
        """Most tokens of prompt and answer together; None when the configuration does not say."""
        length = getattr(self.model.config, "max_position_embeddings", None)
        return length if isinstance(length, int) and length > 0 else None

    def eos_tokens(self) -> set[int]:
        """The EOS tokens, which end an answer."""
        eos = self.model.generation_config.eos_token_id
        return {self.tokenizer.eos_token_id, *(eos if isinstance(eos, list) else [eos])} - {None}

    def template(self, adapter: str | None) -> str | None:
        """The chat template that an adapter was trained with: the one in its folder, else the base's own."""
        if adapter is not None and (beside := template_beside(Path(adapter))) is not None:
            return beside
        return default_template(self.tokenizer)

    def template_mark(self, adapter: str | None) -> str:
        """A digest that identifies the chat template; empty for none."""
        template = self.template(adapter)
        return hashlib.sha256(template.encode()).hexdigest()[:12] if template else ""

    def encode(self, turns: Sequence[Turn], adapter: str | None) -> list[int]:
        """Tokens of the conversation, rendered with the chat template and generation prompt; without one, plain text.

        A template contains its own BOS token. Raises InputError.
        """
        template = self.template(adapter)
        text = _render(self.tokenizer, template, turns)
        return list(self.tokenizer(text, add_special_tokens=template is None)["input_ids"])

    def virtual_tokens_of(self, adapter: str | None) -> int:
        """The virtual tokens that an adapter puts before each prompt; 0 for most. Raises InputError."""
        if adapter is None or not is_adapter(Path(adapter)):
            return 0
        return read_adapter_facts(Path(adapter)).virtual_tokens or 0

    @contextlib.contextmanager
    def speaking_as(self, adapter: str | None) -> Iterator[None]:
        """Within the block the model generates with this adapter, or as the base. Raises InputError."""
        if adapter is None:
            if not self._is_base_kept:
                self._take_off()
            with self._as_base():
                yield
            return
        if _key(adapter) in self._adapters:
            self.model.set_adapter(self._adapters[_key(adapter)])
        else:
            self._load(adapter)
        self.virtual_tokens = self.virtual_tokens_of(adapter)
        try:
            yield
        finally:
            self.virtual_tokens = 0

    @contextlib.contextmanager
    def _as_base(self) -> Iterator[None]:
        """Within the block the adapters on the base are off."""
        speaking = self.model
        if not isinstance(speaking, PeftModel):
            yield
        elif (
            speaking.active_peft_config.is_prompt_learning
        ):  # it stands before the base, and not in its layers
            self.model = self._base
            try:
                yield
            finally:
                self.model = speaking
        else:
            with speaking.disable_adapter():
                yield

    def _load(self, adapter: str) -> None:
        """Put an adapter on the base and let it speak; others stay on it if PEFT can hold them together."""
        folder = Path(adapter)
        if not is_adapter(folder):
            raise InputError(
                "Not an adapter",
                f"{folder} has no adapter_config.json.",
                "Give the adapter folder of a finished run.",
            )
        require_safetensors(folder)
        facts = read_adapter_facts(folder)
        if self._adapters and not self._may_join(facts):
            self._take_off()
        try:
            self._put_on(adapter, facts)
        except Exception as error:
            was_first = not self._adapters
            self._take_off()
            if was_first or is_out_of_memory(error):
                raise self._explained(error, folder) from error
            try:  # PEFT holds some only alone, such as two with biases
                self._put_on(adapter, facts)
            except Exception as again:
                self._take_off()
                raise self._explained(again, folder) from again

    def _may_join(self, facts: AdapterFacts) -> bool:
        """Whether an adapter can be put on beside those that are there."""
        is_beside = not facts.takes_modules and not changes_base(facts.init)
        return facts.kind == self._kind and self._is_beside and self._is_base_kept and is_beside

    def _put_on(self, adapter: str, facts: AdapterFacts) -> None:
        name = f"adapter{len(self._adapters)}"
        if facts.bias not in (None, "none"):  # PEFT overwrites the base's own
            self._biases = {
                key: value.detach().clone()
                for key, value in self._base.named_parameters()
                if key.endswith("bias")
            }
        with as_plain(Path(adapter), self._base) as plain:
            if isinstance(self.model, PeftModel):
                self.model.load_adapter(str(plain), adapter_name=name)
            else:
                self.model = PeftModel.from_pretrained(self.model, str(plain), adapter_name=name)
            require_all_loaded(self.model, plain, name)
        self.model.set_adapter(name)
        self.model.eval()
        if self._logits is not None:
            logits_of(self.model, {"input_ids": self._row})  # what PEFT cannot hold together fails here
        self._adapters[_key(adapter)] = name
        self._kind, self._is_beside = facts.kind, not facts.takes_modules
        self._is_base_kept = self._is_base_as_before()

    def _take_off(self) -> None:
        """Take all adapters off the base; it is loaded again if it does not answer as before then."""
        try:
            self._unwrap()
            is_kept = self._is_base_as_before()
        except Exception:  # PEFT cannot take off every kind
            _log.warning("the adapters cannot be taken off", exc_info=True)
            is_kept = False
        if not is_kept:
            self._base = self.model = None
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._base = self.model = self._load_base()
        self._adapters.clear()
        self._biases.clear()
        self._is_base_kept = True

    def _unwrap(self) -> None:
        tuned, self.model = self.model, self._base
        if not isinstance(tuned, PeftModel):
            return
        is_before = tuned.active_peft_config.is_prompt_learning
        for name in list(tuned.peft_config):  # or modules that were saved as a whole would stay in the base
            tuned.delete_adapter(name)
        if not is_before:
            tuned.unload()
        for name, value in self._biases.items():
            self._base.get_parameter(name).data.copy_(value)

    def _look(self) -> torch.Tensor | None:
        """The base's logits of one row; None where it needs more than tokens."""
        try:
            return logits_of(self.model, {"input_ids": self._row})
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            if is_out_of_memory(error):
                raise
            return None

    def _is_base_as_before(self) -> bool:
        with self._as_base():
            now = self._look()
        return now is None or self._logits is None or is_same(now, self._logits, self._base)

    def _explained(self, error: Exception, folder: Path) -> Exception:
        if isinstance(error, RuntimeError) and "size mismatch" in str(error):
            return InputError(
                "The adapter does not fit the model",
                f"{folder} was not trained on {self.name}.",
                "Use the base that its adapter_config.json names.",
            )
        return explain_loading(error, str(folder), self._spec)


def _render(tokenizer: PreTrainedTokenizerBase, template: str | None, turns: Sequence[Turn]) -> str:
    if template is None:
        return "\n\n".join(turn.content for turn in turns)
    plain = [{"role": turn.role, "content": turn.content} for turn in turns]
    try:
        return render(tokenizer, plain, "", asks_for_answer=True, template=template)
    except TemplateRefused as error:
        raise InputError(
            "The chat template rejects the conversation",
            error.reason,
            "Some templates do not support a system prompt.",
        ) from error


def _key(adapter: str) -> tuple[str, int]:
    """The cache key; a rewritten adapter gets another one."""
    try:
        return adapter, (Path(adapter) / "adapter_config.json").stat().st_mtime_ns
    except OSError:
        return adapter, 0
