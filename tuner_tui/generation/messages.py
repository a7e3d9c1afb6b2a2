"""The protocol between apps and the generation worker: one JSON object per line."""

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
    """A base model and its precision. One generation worker loads one base."""

    source: str
    """A folder, a GGUF file, a Hub repository's name, or "demo"."""
    revision: str | None = None
    precision: Precision = "auto"
    device: Literal["auto", "cuda", "cpu"] = "auto"
    trust_remote_code: bool = False


class Candidate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A base, optionally with an adapter and a system prompt."""

    base: Base
    adapter: str | None = None
    """The adapter's folder."""
    system: str = ""

    @property
    def name(self) -> str:
        """A short display name."""
        model = Path(self.base.source).name if "/" in self.base.source else self.base.source
        parts = [model, adapter_name(self.adapter), "system prompt" if self.system else ""]
        return " + ".join(part for part in parts if part)

    @property
    def text(self) -> str:
        """As `candidate_of` reads it: MODEL or MODEL+ADAPTER, without the system prompt."""
        return f"{self.base.source}+{self.adapter}" if self.adapter else self.base.source

    def turns(self, conversation: tuple[Turn, ...]) -> tuple[Turn, ...]:
        """The conversation with this candidate's system prompt before it, in place of the conversation's own."""
        if not self.system:
            return conversation
        own = tuple(turn for turn in conversation if turn.role != "system")
        return (Turn("system", self.system), *own)


def adapter_name(folder: str | None) -> str:
    """An adapter by its run's name, since adapter folders all have the same name."""
    if folder is None:
        return ""
    path = Path(folder)
    return path.parent.name if path.name == "adapter" and path.parent.name else path.name


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """Sampling settings. Temperature 0 is greedy; top_k 0 and top_p 1 are off."""

    max_new_tokens: int = 256
    temperature: float = 0.7
    top_p: float = 0.95
    top_k: int = 0
    repetition_penalty: float = 1.0

    def problem(self) -> str | None:
        """Problems of the settings."""
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
    """Fields of every request."""

    id: str
    """Chosen by the asker; all replies carry it."""


class Load(RequestBase, frozen=True, kw_only=True, tag="load"):
    """Load the base; the first request of a connection."""

    base: Base
    may_share: bool = False
    """Whether to stay loaded when idle, while a run is training or waits for memory."""


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
    """Goes before other requests, because a person waits."""


class Cancel(RequestBase, frozen=True, kw_only=True, tag="cancel"):
    """Stop answering the request of this id; the partial answer comes back as unfinished."""


class Leave(RequestBase, frozen=True, kw_only=True, tag="leave"):
    """Free the memory and exit."""


class Loaded(RequestBase, frozen=True, kw_only=True, tag="loaded"):
    """The base is in memory."""

    model: str
    device: str
    precision: str
    template: str
    """A fingerprint of the chat template; empty when the model has none."""
    seconds: float


class Told(RequestBase, frozen=True, kw_only=True, tag="told"):
    """The worker's state, in words."""

    words: str


class Began(RequestBase, frozen=True, kw_only=True, tag="began"):
    """The request's batch is being computed."""

    batch_size: int


class Grew(RequestBase, frozen=True, kw_only=True, tag="grew"):
    """The complete answer so far, so that skipping one loses nothing."""

    text: str
    tokens: int


class Answered(RequestBase, frozen=True, kw_only=True, tag="answered"):
    """The complete answer."""

    text: str
    is_finished: bool
    """Whether the model ended with EOS; False when truncated or cancelled."""
    tokens: int
    seconds: float
    """From its batch's prompts to its own last token."""
    batch_size: int
    seed: int
    template: str
    is_cancelled: bool = False


class Failed(RequestBase, frozen=True, kw_only=True, tag="failed"):
    """The request failed."""

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
    """Raises ValueError for anything but a request."""
    return _requests.decode(line)


def decode_reply(line: bytes) -> Reply:
    """Raises ValueError for anything but a reply."""
    return _replies.decode(line)


def check_sampling(sampling: Sampling) -> Sampling:
    """The settings. Raises ValueError that names the field that is out of bounds."""
    problem = sampling.problem()
    if problem:
        raise ValueError(problem)
    return sampling
