"""The refusal to run a model's own code without having been allowed to."""

from __future__ import annotations

from pathlib import Path

from tuner_tui.errors import InputError
from tuner_tui.text import shell_command


class UntrustedCode(InputError):
    """A run needs a model's own code, which was not allowed on this machine yet."""

    def __init__(self, model: str, location: str, revision: str | None) -> None:
        options = ["--revision", revision] if revision and not Path(location).exists() else []
        super().__init__(
            "This model needs to run its own code",
            f"model.trust_remote_code is true: {model} would run its Python files with your permissions.",
            f"If you trust its author: {shell_command('models trust', model, options=options)}",
        )
        self.model, self.location, self.revision = model, location, revision
