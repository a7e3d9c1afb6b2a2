"""The errors that users see: what happened, where, and what to do next."""

from __future__ import annotations


class TunerError(Exception):
    """An explained failure; shown as a title, a message and a hint, never as a traceback."""

    exit_code = 1
    """Exit code of a command that ends with this error."""

    def __init__(self, title: str, message: str = "", hint: str = "") -> None:
        super().__init__(": ".join(part for part in (title, message) if part))
        self.title = title
        self.message = message
        self.hint = hint

    @property
    def in_one_line(self) -> str:
        """Title, message and hint as sentences: `Title: message. Hint.`"""
        reason = ": ".join(part for part in (self.title, self.message) if part)
        return " ".join(as_sentence(part) for part in (reason, self.hint) if part)


def as_sentence(text: str) -> str:
    """The text with a full stop, unless it ends with a punctuation mark."""
    text = text.rstrip()
    return text if not text or text.endswith((".", "?", "!", ":")) else f"{text}."


class InputError(TunerError):
    """An input (a file, a key, a name) is invalid."""

    exit_code = 2


class NotFoundError(InputError):
    """A named run, preset, model or file does not exist."""

    exit_code = 3


class RunProblem(TunerError):
    """A run's state does not allow the request (already running, nothing to resume)."""

    exit_code = 4


class SettingsError(InputError):
    """The settings file is invalid; names the place."""

    meanwhile = ""
    """The settings that the app uses until it is fixed."""
