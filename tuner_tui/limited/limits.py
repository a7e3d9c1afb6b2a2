"""Limits of time and memory for reading untrusted files, and the errors for exceeding them."""

from __future__ import annotations

from dataclasses import dataclass

from tuner_tui.config.settings import read_settings
from tuner_tui.errors import InputError, TunerError

SECONDS_SETTING, MEMORY_SETTING = "limits.seconds", "limits.memory"
HINT = (
    "Such a file is usually broken or malicious. If you trust it, raise the limit: "
    "tuner-tui config set {setting} {raised:g}"
)


class LimitReached(InputError):
    """Reading a file exceeded the limit of time or memory."""


@dataclass(frozen=True)
class Limits:
    """The limits of one step, such as rendering a row, reading a batch of rows or loading a tokenizer."""

    seconds: float = 10.0
    """Of CPU time."""
    memory_gb: float = 4.0
    """GiB that the child may allocate in all."""

    @property
    def memory_bytes(self) -> int:
        return int(self.memory_gb * (1 << 30))

    @property
    def silent_seconds(self) -> float:
        """Wall-clock time without progress after which the child is killed: on a busy machine, longer than CPU time."""
        return 3 * self.seconds + 5

    def too_slow(self, what: str) -> LimitReached:
        """The error for a step that took too long; `what` names the file and the step."""
        return LimitReached(
            "Reading takes too long",
            f"{what} did not end within {self.seconds:g} seconds (limit: {SECONDS_SETTING}).",
            HINT.format(setting=SECONDS_SETTING, raised=6 * self.seconds),
        )

    def too_big(self, what: str) -> LimitReached:
        """The error for a step that needed too much memory."""
        return LimitReached(
            "Reading needs too much memory",
            f"{what} needed more than {self.memory_gb:g} GB of memory (limit: {MEMORY_SETTING}).",
            HINT.format(setting=MEMORY_SETTING, raised=2 * self.memory_gb),
        )


def current_limits() -> Limits:
    """The limits in the settings; the defaults if the settings cannot be read."""
    try:
        settings = read_settings()
    except TunerError:  # reported where settings are used
        return Limits()
    return Limits(
        settings.number(SECONDS_SETTING) or Limits.seconds,
        settings.number(MEMORY_SETTING) or Limits.memory_gb,
    )
