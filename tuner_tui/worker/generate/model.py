"""A loaded base with its adapters, switched by name; nothing is loaded twice."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peft import PeftModel

from tuner_tui.config.spec import DataSpec, ModelSpec, RunSpec
from tuner_tui.config.spec import MachineSpec as Placement
from tuner_tui.data.tokens.template import template_beside
from tuner_tui.errors import InputError
from tuner_tui.models.adapter import require_safetensors
from tuner_tui.models.source import find_source
from tuner_tui.worker.device.machine import Machine, choose_machine
from tuner_tui.worker.model.loading import dequantise_once, explain_loading, load_base, load_tokenizer
from tuner_tui.worker.text.named_templates import default_template
from tuner_tui.worker.text.rendering import TemplateRefused, render

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from transformers import PreTrainedTokenizerBase

    from tuner_tui.generation.messages import Base, Turn


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
        self.tokenizer: PreTrainedTokenizerBase = load_tokenizer(location, revision, spec)
        loaded: Any = load_base(location, revision, spec, self.machine)
        self.model: Any = loaded.eval()
        self._adapters: dict[tuple[str, int], str] = {}

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

    @contextlib.contextmanager
    def speaking_as(self, adapter: str | None) -> Iterator[None]:
        """Within the block the model generates with this adapter, or as the base. Raises InputError."""
        if adapter is None:
            if isinstance(self.model, PeftModel):
                with self.model.disable_adapter():
                    yield
            else:
                yield
            return
        self.model.set_adapter(self._name_of(adapter)) if self._is_loaded(adapter) else self._load(adapter)
        yield

    def _is_loaded(self, adapter: str) -> bool:
        return _key(adapter) in self._adapters

    def _name_of(self, adapter: str) -> str:
        return self._adapters[_key(adapter)]

    def _load(self, adapter: str) -> None:
        folder = Path(adapter)
        if not (folder / "adapter_config.json").is_file():
            raise InputError(
                "Not an adapter",
                f"{folder} has no adapter_config.json.",
                "Give the adapter folder of a finished run.",
            )
        require_safetensors(folder)
        name = f"adapter{len(self._adapters)}"
        try:
            if isinstance(self.model, PeftModel):
                self.model.load_adapter(adapter, adapter_name=name)
            else:
                self.model = PeftModel.from_pretrained(self.model, adapter, adapter_name=name)
            self.model.set_adapter(name)
        except Exception as error:
            if isinstance(self.model, PeftModel) and name in self.model.peft_config:
                self.model.delete_adapter(name)
            if isinstance(error, RuntimeError) and "size mismatch" in str(error):
                raise InputError(
                    "The adapter does not fit the model",
                    f"{folder} was not trained on {self.name}.",
                    "Use the base that its adapter_config.json names.",
                ) from error
            raise explain_loading(error, adapter, self._spec) from error
        self.model.eval()
        self._adapters[_key(adapter)] = name


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
