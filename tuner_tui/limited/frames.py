"""The protocol between parent and child: frames with a kind, a length and bytes."""

from __future__ import annotations

import struct
from typing import Literal

import msgspec

HEADER = struct.Struct("<cI")
REPLY, END, FAULT, ALIVE = b"R", b"E", b"F", b"A"
LARGEST_REPLY_BYTES = 1 << 28
"""Largest payload; more than any row or rendered conversation needs."""

FaultKind = Literal["input", "time", "memory", "crash"]


class Fault(msgspec.Struct, frozen=True):
    """Why a request ended early."""

    kind: FaultKind
    what: str = ""
    """The file and the step."""
    title: str = ""
    message: str = ""
    hint: str = ""
    place: int = 0
    """Which item of the request it was, from 0."""


def frame(kind: bytes, payload: bytes = b"") -> bytes:
    """One encoded frame."""
    return HEADER.pack(kind, len(payload)) + payload
