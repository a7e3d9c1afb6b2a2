"""The protocol of an export: what a worker is asked to write or check, and the events it answers with.

Like a run's events: one JSON object a line, numbers with the unit in the name; words for people are made elsewhere.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from tuner_tui.config.tunings.traits import ExportForm

Form = ExportForm
BaseAs = Literal["trained", "original"]
"""Into which weights an adapter is merged: those it was trained on (4-bit ones dequantised) or the original ones."""

FORMS: dict[Form, str] = {
    "adapter": "the PEFT adapter, a few megabytes (safetensors)",
    "merged": "a whole model with the adapter merged in (safetensors)",
    "gguf-adapter": "the adapter as GGUF, for llama.cpp beside its base",
    "gguf": "a merged model as one GGUF file, for llama.cpp and similar",
    "ollama": "a merged GGUF with a Modelfile: template, stop tokens, parameters",
    "script": "train.py, which repeats the run with TRL and without tuner-tui",
    "archive": "the whole run as one .tar.gz, to take to another machine",
}
WORKER_FORMS: tuple[Form, ...] = ("adapter", "merged", "gguf-adapter", "gguf", "ollama")


class ExportRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker writes into `out`, or reads back from there."""

    run: str
    """The run's folder."""
    form: Form
    out: str
    events: str
    """The file that events are appended to."""
    precision: str
    """How the base was held in training: fp32, bf16, fp16, int8 or nf4."""
    compute: str
    """The type of a quantised base's arithmetic in training: fp32, bf16 or fp16."""
    base_as: BaseAs = "trained"
    quant: str = "f16"
    """The GGUF's number type: f32, f16, q8_0, or one of llama.cpp's own such as q4_k_m."""
    base_name: str | None = None
    """The base's name on the Hub, for what is written about it."""
    prompts: tuple[str, ...] = ()
    max_new_tokens: int = 32


class ExportEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="event"):
    """What all events of an export have in common."""


class StepEntered(ExportEvent, frozen=True, kw_only=True, tag="step"):
    """The worker has begun another part of the work."""

    what: str


class BytesWritten(ExportEvent, frozen=True, kw_only=True, tag="bytes"):
    """How far the writing is."""

    done_bytes: int
    total_bytes: int


class ChatTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """A chat template as plain pieces: what stands before and after each role's content."""

    before: dict[str, str]
    after: dict[str, str]
    default_system: str = ""
    """What the template says when no system message was given."""
    answer_start: str
    """What stands before the answer to be generated."""


class Written(ExportEvent, frozen=True, kw_only=True, tag="written"):
    """The form lies in its folder; `template`, `stop` and the context length are for an Ollama package."""

    files: tuple[str, ...]
    template: ChatTemplate | None = None
    stop: tuple[str, ...] = ()
    context_length: int | None = None
    notes: tuple[str, ...] = ()


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """Two models on the same tokens: the first one's greedy answers to the prompts."""

    prompts: int
    equal_answers: int
    """Prompts at which every token is the same, near ties counted as the same."""
    tokens: int
    near_ties: int
    """Tokens that differ where the two best probabilities lie within the tolerated gap."""
    largest_logit_difference: float
    largest_probability_difference: float
    """Of the best token's probability."""
    mean_kl: float
    """Mean Kullback-Leibler divergence per token, in nats."""


class BeforeAfter(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt answered greedily by the base and by what was trained."""

    prompt: str
    before: str
    after: str


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """The same adapter on another base than the one it was trained on."""

    name: str
    agreement: Agreement | None = None
    """With what was trained; None when it could not be asked."""
    problem: str = ""


class Checked(ExportEvent, frozen=True, kw_only=True, tag="checked"):
    """What was written was read back and behaves as it claims."""

    reader: str
    """What read it."""
    against: str
    """The model that it claims to equal."""
    agreement: Agreement
    samples: tuple[BeforeAfter, ...] = ()
    as_trained: Agreement | None = None
    """Against the model exactly as it was held in training, where the form claims to equal another one."""
    variants: tuple[Variant, ...] = ()
    """How an adapter from a 4-bit or 8-bit run behaves elsewhere; for other runs empty."""


class Failed(ExportEvent, frozen=True, kw_only=True, tag="failed"):
    """It could not be done, or what was written does not behave as it claims."""

    title: str
    message: str = ""
    hint: str = ""
    exit_code: int = 1
    """What a headless command returns."""


Event = StepEntered | BytesWritten | Written | Checked | Failed
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """One line."""
    return _encoder.encode(event) + b"\n"


def decode_lines(lines: bytes) -> list[Event]:
    """The events of whole lines. Raises msgspec.DecodeError for what is none."""
    return _decoder.decode_lines(lines)
