"""The errors that reach the person: what happened, where, and what to do next."""

from __future__ import annotations


class TunerError(Exception):
    """A failure we can explain; shown as a title, a message and a hint, never as a traceback."""

    exit_code = 1
    """What a headless command returns when it ends with this error."""

    def __init__(self, title: str, message: str = "", hint: str = "") -> None:
        super().__init__(": ".join(part for part in (title, message) if part))
        self.title = title
        self.message = message
        self.hint = hint


class InputError(TunerError):
    """Something the person gave (a file, a key, a name) cannot be used as it is."""

    exit_code = 2


class NotFoundError(InputError):
    """A run, preset, model or file that was named does not exist."""

    exit_code = 3


class RunProblem(TunerError):
    """A run cannot do what was asked in the state it is in (already running, nothing to resume)."""

    exit_code = 4
