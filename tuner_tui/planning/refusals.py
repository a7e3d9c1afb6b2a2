"""What keeps a model from being trained as a spec says, asked before a run as the worker's libraries will ask it.

The model's type and PEFT's tables are in the table of architectures, its tensors in the files' headers: no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from packaging.version import Version

from tuner_tui.config.methods.traits import method_traits
from tuner_tui.config.tunings.traits import tuning_traits
from tuner_tui.errors import InputError
from tuner_tui.models.architectures import EXTRA_PACKAGES, Architecture, architecture, table
from tuner_tui.models.stored import is_unpacked, missing_package, stored_refusal
from tuner_tui.planning.place import UNCOUNTED, Rows
from tuner_tui.planning.tunings import memory_of
from tuner_tui.text import listed
from tuner_tui.versions import installed_version

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.models.facts import ModelFacts

OTHER_MODEL = "Use another model."


class Refusal(NamedTuple):
    """Why a model cannot be trained as the spec says."""

    key: str
    """The option that can change that."""
    title: str
    why: str
    """A clause that goes after the model's name."""
    hint: str
    has_figures: bool = False
    """Whether its memory can be estimated all the same."""


def refusal_of(spec: RunSpec, facts: ModelFacts | None, rows: Rows = UNCOUNTED) -> Refusal | None:
    """The first reason why a run could not be trained; None if it can, as far as this is known before it.

    Without `facts` nothing is known. `rows` tell which token IDs the run needs.
    """
    if facts is None:
        return None
    return next(_refusals(spec, facts, rows), None)


def require_trainable(spec: RunSpec, facts: ModelFacts | None, name: str, rows: Rows = UNCOUNTED) -> None:
    """Raise InputError where a model cannot be trained as the spec says; `name` is the model's."""
    refusal = refusal_of(spec, facts, rows)
    if refusal is None and facts is not None:
        refusal = _uninstalled(facts)
    if refusal is not None:
        raise InputError(refusal.title, f"{name}: {refusal.why}.", refusal.hint)


def _refusals(spec: RunSpec, facts: ModelFacts, rows: Rows) -> Iterator[Refusal]:
    if stored := stored_refusal(facts.quantisation, spec.model.precision, spec.tuning.kind):
        why, hint = stored
        yield Refusal("model.source", "The model's weights are quantised already", why, hint)
    if not facts.is_gguf:
        yield from _of_type(spec, facts)
    yield from _of_precision(spec, facts)
    yield from _of_kernels(spec, facts.known)
    yield from _of_tuning(spec, facts)
    yield from _of_tokens(facts, rows)


def _of_type(spec: RunSpec, facts: ModelFacts) -> Iterator[Refusal]:
    """Whether transformers' auto classes know the type, as the run will load it."""
    known, model_type = facts.known, facts.model_type
    if model_type is None or (facts.has_own_code and spec.model.trust_remote_code):
        return
    title = "The model cannot be loaded for training"
    transformers = f"transformers {table().versions['transformers']}"
    if known is None or not known.loader:
        if facts.has_own_code:
            yield Refusal(
                "model.trust_remote_code",
                "The model needs its own code",
                f"{transformers} does not know the model type {model_type}; its repository has Python code for it",
                "If you trust its author, set model.trust_remote_code = true; else use another model.",
            )
        elif known is not None or not _is_newer_than_table():
            why = f"{transformers} has no language model of the type {model_type}"
            yield Refusal("model.source", title, why, OTHER_MODEL, has_figures=known is None)
        return
    is_verified = known.reads_text is True
    if known.loader == "multimodal" and not is_verified:
        why = f"AutoModelForCausalLM does not know {model_type}, and its class is not known to train on text alone"
        yield Refusal("model.source", title, why, OTHER_MODEL)
    elif known.reads_text is False:
        why = f"TRL's trainers do not give the loss of {model_type} on text"
        yield Refusal("model.source", title, why, OTHER_MODEL)
    if method_traits(spec.method.kind).output == "scores" and not known.can_score:
        why = f"AutoModelForSequenceClassification does not know {model_type}, so it cannot be a reward model"
        yield Refusal("method.kind", title, why, "Use another model, or another method.")


def _is_newer_than_table() -> bool:
    """Whether the installed transformers may know more model types than the table."""
    installed = installed_version("transformers")
    return installed is not None and Version(installed) > Version(table().versions["transformers"])


def _uninstalled(facts: ModelFacts) -> Refusal | None:
    """A package that loading the model needs, and that is not installed."""
    package = missing_package(facts.quantisation)
    if package is None:
        needed = EXTRA_PACKAGES.get(facts.model_type or "", ())
        package = next((each for each in needed if installed_version(each) is None), None)
    if package is None:
        return None
    why = f"loading it needs the package {package}, which is not installed"
    return Refusal("model.source", "A package is missing", why, f"Install it: pip install {package}")


def _of_precision(spec: RunSpec, facts: ModelFacts) -> Iterator[Refusal]:
    """Quantised layers whose weights the model's own code reads: the first step would fail."""
    known = architecture(facts.loaded_type)
    is_stored = facts.quantisation is not None and not is_unpacked(facts.quantisation)
    if known is None or not known.unquantised or not (is_stored or spec.model.precision in ("int8", "nf4")):
        return
    why = f"its code reads the weights of {listed(known.unquantised)} itself, which fails where they are quantised"
    title = "The model cannot be quantised"
    if is_stored:
        yield Refusal("model.source", title, why, "Use the unquantised model.")
    else:
        yield Refusal("model.precision", title, why, 'Set model.precision to "auto", "bf16" or "fp32".')


def _of_kernels(spec: RunSpec, known: Architecture | None) -> Iterator[Refusal]:
    """Attention and checkpointing that the model's classes do not have."""
    if known is None or not known.is_known:
        return
    wanted = spec.model.attention
    if wanted not in ("auto", "eager", *known.attention):
        usable = listed([f'"{each}"' for each in ("auto", *known.attention, "eager")], "or")
        yield Refusal(
            "model.attention",
            "The model has no such attention",
            f"its class does not have {wanted}",
            f"Set model.attention to {usable}.",
        )
    if spec.training.checkpointing == "on" and not known.can_checkpoint:
        yield Refusal(
            "training.checkpointing",
            "The model cannot recompute its activations",
            "its class does not have gradient checkpointing",
            'Set training.checkpointing to "off" or "auto".',
        )


def _of_tuning(spec: RunSpec, facts: ModelFacts) -> Iterator[Refusal]:
    """What PEFT refuses, and targets that the model does not have."""
    if not tuning_traits(spec.tuning.kind).is_adapter:
        return
    refused = memory_of(spec.tuning.kind).refusal(spec.tuning, facts.loaded_type or "", _modules(facts))
    if refused is not None:
        why, hint = refused
        yield Refusal("tuning.targets", "This model cannot be tuned with these options", why, hint)


def _modules(facts: ModelFacts) -> frozenset[str]:
    """The last parts of the names of the model's linear layers; empty if they are not known."""
    if facts.weights is None or facts.known is None or not facts.known.is_known:
        return frozenset()
    stored = {matrix.name for matrix in facts.weights.matrices if matrix.place != "tower"}
    return frozenset((*facts.known.linear, *facts.known.plain, *stored))


def _of_tokens(facts: ModelFacts, rows: Rows) -> Iterator[Refusal]:
    """Token IDs that the embedding does not have: the first step would end in an IndexError."""
    count = facts.embedding_rows
    for what, token in rows.token_ids if count else ():
        if count is not None and token >= count:
            yield Refusal(
                "model.source",
                "The tokenizer has tokens that the model does not have",
                f"{what} has the ID {token}, and the model's embedding has {count:,} rows",
                "Use the tokenizer of the original model, or a model whose embedding was resized for these tokens.",
            )
            return
