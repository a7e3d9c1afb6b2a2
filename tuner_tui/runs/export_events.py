"""The protocol of an export: the request to write or verify an export, and the worker's events.

As in a run's events: one JSON object per line, numbers with the unit in the name, no texts for users.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from tuner_tui.config.tunings.traits import ExportForm

Form = ExportForm
BaseAs = Literal["trained", "original"]
"""The weights that an adapter is merged into: those it was trained on (4-bit ones dequantised) or the original ones."""

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
    """A request to write an export to `out`, or to verify the one there."""

    run: str
    """The run's folder."""
    form: Form
    out: str
    events: str
    """The file that events are appended to."""
    precision: str
    """Precision of the base in training: fp32, bf16, fp16, int8 or nf4."""
    compute: str
    """Compute dtype of a quantised base in training: fp32, bf16 or fp16."""
    base_as: BaseAs = "trained"
    quant: str = "f16"
    """The GGUF's type: f32, f16, q8_0, or one of llama.cpp's own such as q4_k_m."""
    base_name: str | None = None
    """The base's name on the Hub, for metadata."""
    prompts: tuple[str, ...] = ()
    max_new_tokens: int = 32
    is_verified: bool = True
    """Whether the export will be read back, which needs memory."""


class ExportEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="event"):
    """Base class of an export's events."""


class StepEntered(ExportEvent, frozen=True, kw_only=True, tag="step"):
    """The worker has started another step."""

    what: str


class BytesWritten(ExportEvent, frozen=True, kw_only=True, tag="bytes"):
    """Progress of writing."""

    done_bytes: int
    total_bytes: int


class PromptsVerified(ExportEvent, frozen=True, kw_only=True, tag="verified"):
    """Progress of the verification: one prompt of one model's run is one of its prompts."""

    done_prompts: int
    total_prompts: int
    """Of all models that are run."""
    seconds_left: float
    """By the time that the prompts so far took; loading models is not included."""


class ChatTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """A chat template as plain pieces: the text before and after each role's content."""

    before: dict[str, str]
    after: dict[str, str]
    default_system: str = ""
    """The template's text without a system message."""
    answer_start: str
    """The generation prompt."""


class Written(ExportEvent, frozen=True, kw_only=True, tag="written"):
    """The export is complete; `template`, `stop` and the context length are for an Ollama package."""

    files: tuple[str, ...]
    template: ChatTemplate | None = None
    stop: tuple[str, ...] = ()
    context_length: int | None = None
    sampling: dict[str, float] = {}
    """The base's own sampling settings by transformers' names, such as {"temperature": 0.6}."""
    notes: tuple[str, ...] = ()


class Agreement(msgspec.Struct, frozen=True, kw_only=True):
    """Agreement of two models on the same tokens, the first one's greedy answers."""

    prompts: int
    equal_answers: int
    """Prompts for which all tokens agree, near ties counted as agreement."""
    tokens: int
    near_ties: int
    """Tokens that differ where the two highest probabilities are within the tolerated gap."""
    largest_logit_difference: float
    largest_probability_difference: float
    """Of the top token's probability."""
    mean_kl: float
    """Mean Kullback-Leibler divergence per token, in nats."""


class BeforeAfter(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt with the greedy answers of the base and the trained model."""

    prompt: str
    before: str
    after: str


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """The same adapter on a base other than the one it was trained on."""

    name: str
    agreement: Agreement | None = None
    """Agreement with the trained model; None if it could not be run."""
    problem: str = ""


class Checked(ExportEvent, frozen=True, kw_only=True, tag="checked"):
    """The export was loaded and behaves like the model it is compared with."""

    reader: str
    """The reader that loaded it."""
    against: str
    """The model that it is compared with."""
    agreement: Agreement
    samples: tuple[BeforeAfter, ...] = ()
    as_trained: Agreement | None = None
    """Agreement with the model exactly as in training, if `against` is another one."""
    variants: tuple[Variant, ...] = ()
    """How an adapter from a 4-bit or 8-bit run behaves on other bases; empty for other runs."""


class Failed(ExportEvent, frozen=True, kw_only=True, tag="failed"):
    """The export failed, or does not behave like the trained model."""

    title: str
    message: str = ""
    hint: str = ""
    exit_code: int = 1
    """Exit code of the command."""


Event = StepEntered | BytesWritten | PromptsVerified | Written | Checked | Failed
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Event] = msgspec.json.Decoder(Event)


def encode(event: Event) -> bytes:
    """One line."""
    return _encoder.encode(event) + b"\n"


def decode_lines(lines: bytes) -> list[Event]:
    """The events of complete lines. Raises msgspec.DecodeError for other lines."""
    return _decoder.decode_lines(lines)
