"""Opens a text in the user's editor."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path

from tuner_tui.config.spec_file import read_text
from tuner_tui.errors import TunerError

USUAL_EDITORS = ("nano", "vi", "vim", "micro", "emacs")
HINT = "Set VISUAL or EDITOR, such as: export EDITOR=nano"


def editor_command() -> list[str]:
    """$VISUAL, $EDITOR, or the first common editor that is installed. Raises TunerError when there is none."""
    for name in ("VISUAL", "EDITOR"):
        try:
            words = shlex.split(os.environ.get(name, ""))
        except ValueError:
            raise TunerError(f"${name} cannot be understood", os.environ[name], HINT) from None
        if words:
            return words
    editor_name = next((editor for editor in USUAL_EDITORS if shutil.which(editor)), None)
    if editor_name is None:
        raise TunerError(
            "No editor", "Neither VISUAL nor EDITOR is set, and no common editor is installed.", HINT
        )
    return [editor_name]


def edit_text(text: str, name: str) -> str:
    """The text as edited in the user's editor. Raises TunerError when the editor fails."""
    command = editor_command()
    with tempfile.TemporaryDirectory(prefix="tuner-tui-") as folder:
        path = Path(folder) / name
        path.write_text(text, encoding="utf-8")
        try:
            code = subprocess.run([*command, str(path)], check=False).returncode
        except OSError as error:
            raise TunerError("The editor does not start", f"{command[0]}: {error.strerror}.", HINT) from error
        if code:
            raise TunerError("The editor failed", f"{command[0]} ended with {code}; nothing was changed.")
        return read_text(path)
