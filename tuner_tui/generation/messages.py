"""What apps and the generation worker say to each other: one JSON object a line, in both directions."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

Role = Literal["system", "user", "assistant"]
Precision = Literal["auto", "fp32", "bf16", "fp16", "int8", "nf4"]


class Turn(msgspec.Struct, frozen=True):
    """One turn of a conversation."""

    role: Role
    content: str


class Base(msgspec.Struct, frozen=True, kw_only=True):
    """A base model, and how it is held. One generation worker holds one base."""

    source: str
    """A folder, a GGUF file, a Hub repository's name, or "demo"."""
    revision: str | None = None
    precision: Precision = "auto"
    device: Literal["auto", "cuda", "cpu"] = "auto"
    trust_remote_code: bool = False


class Candidate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One who answers: a base, with an adapter or without, with a system prompt or without."""

    base: Base
    adapter: str | None = None
    """The adapter's folder."""
    system: str = ""

    @property
    def name(self) -> str:
        """Short, for people."""
        model = Path(self.base.source).name if "/" in self.base.source else self.base.source
        parts = [model, adapter_name(self.adapter), "system prompt" if self.system else ""]
        return " + ".join(part for part in parts if part)

    def turns(self, conversation: tuple[Turn, ...]) -> tuple[Turn, ...]:
        """The conversation with this candidate's system prompt before it, in place of the conversation's own."""
        if not self.system:
            return conversation
        own = tuple(turn for turn in conversation if turn.role != "system")
        return (Turn("system", self.system), *own)


def adapter_name(folder: str | None) -> str:
    """An adapter by its run's name: the folder of a run's adapter is always called the same."""
    if folder is None:
        return ""
    path = Path(folder)
    return path.parent.name if path.name == "adapter" and path.parent.name else path.name


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How tokens are drawn. Temperature 0 always takes the likeliest; top_k 0 and top_p 1 leave none out."""

    max_new_tokens: int = 256
    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 0
    repetition_penalty: float = 1.0

    def problem(self) -> str | None:
        """What is wrong with the settings, in words."""
        if not 1 <= self.max_new_tokens <= 32_768:
            return f"max_new_tokens is {self.max_new_tokens}; expected 1 to 32768"
        if not 0 <= self.temperature <= 10:
            return f"temperature is {self.temperature:g}; expected 0 to 10"
        if not 0 < self.top_p <= 1:
            return f"top_p is {self.top_p:g}; expected above 0, up to 1"
        if self.top_k < 0:
            return f"top_k is {self.top_k}; expected 0 (off) or more"
        if not 0.1 <= self.repetition_penalty <= 10:
            return f"repetition_penalty is {self.repetition_penalty:g}; expected 0.1 to 10"
        return None


class RequestBase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """What every request has."""

    id: str
    """Chosen by the asker; all replies carry it."""


class Load(RequestBase, frozen=True, kw_only=True, tag="load"):
    """Load the base; the first request of a connection."""

    base: Base
    may_share: bool = False
    """Whether to stay, when nothing is asked, while a run is at work or waits for memory."""


class Generate(RequestBase, frozen=True, kw_only=True, tag="generate"):
    """Answer one conversation. Requests that fit (same adapter and sampling) are computed as one batch."""

    turns: tuple[Turn, ...]
    sampling: Sampling
    seed: int
    adapter: str | None = None
    """The adapter's folder; None asks the base."""
    is_alone: bool = False
    """Never batched: the tokens are those that plain `generate` draws after `torch.manual_seed(seed)`."""
    is_urgent: bool = False
    """Goes before requests that are not; for a person who waits."""


class Cancel(RequestBase, frozen=True, kw_only=True, tag="cancel"):
    """Stop answering the request of this id; what was said so far comes back as an unfinished answer."""


class Leave(RequestBase, frozen=True, kw_only=True, tag="leave"):
    """Give the memory back and leave."""


class Loaded(RequestBase, frozen=True, kw_only=True, tag="loaded"):
    """The base is in memory."""

    model: str
    device: str
    precision: str
    template: str
    """A fingerprint of the chat template; empty when the model has none."""
    seconds: float


class Told(RequestBase, frozen=True, kw_only=True, tag="told"):
    """What the worker is doing, in words."""

    words: str


class Began(RequestBase, frozen=True, kw_only=True, tag="began"):
    """The request's batch is being computed."""

    batch_size: int


class Grew(RequestBase, frozen=True, kw_only=True, tag="grew"):
    """The answer so far, whole; so a skipped one costs nothing."""

    text: str
    tokens: int


class Answered(RequestBase, frozen=True, kw_only=True, tag="answered"):
    """The whole answer."""

    text: str
    is_finished: bool
    """Whether the model ended by itself; False when it was cut off by length or cancelled."""
    tokens: int
    seconds: float
    """Of its batch, from the prompt to the last token."""
    batch_size: int
    seed: int
    template: str
    is_cancelled: bool = False


class Failed(RequestBase, frozen=True, kw_only=True, tag="failed"):
    """The request cannot be answered; in plain words."""

    title: str
    message: str = ""
    hint: str = ""


Request = Load | Generate | Cancel | Leave
Reply = Loaded | Told | Began | Grew | Answered | Failed

_encoder = msgspec.json.Encoder()
_requests: msgspec.json.Decoder[Request] = msgspec.json.Decoder(Request)
_replies: msgspec.json.Decoder[Reply] = msgspec.json.Decoder(Reply)


def encode(message: Request | Reply) -> bytes:
    """One line."""
    return _encoder.encode(message) + b"\n"


def decode_request(line: bytes) -> Request:
    """Raises ValueError for what is no request."""
    return _requests.decode(line)


def decode_reply(line: bytes) -> Reply:
    """Raises ValueError for what is no reply."""
    return _replies.decode(line)


def check_sampling(sampling: Sampling) -> Sampling:
    """The settings. Raises ValueError that names the field that is out of bounds."""
    problem = sampling.problem()
    if problem:
        raise ValueError(problem)
    return sampling
