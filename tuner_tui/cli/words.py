"""Numbers and events in words, for terminals and pipes."""

from __future__ import annotations

from tuner_tui.runs.ending_words import ending_words as ending
from tuner_tui.runs.event_words import event_words as tell
from tuner_tui.text import PHASES, count, duration, number, quoted, shell_line, size

__all__ = ["PHASES", "count", "duration", "ending", "number", "program", "size", "tell"]


def program() -> str:
    """This command's name if the shell finds it, else its path."""
    import shutil
    import sys
    from pathlib import Path

    from tuner_tui.python import python_command

    called = Path(sys.argv[0])
    if called.name != "tuner-tui":
        return shell_line(python_command("tuner_tui"))
    return called.name if shutil.which(called.name) else quoted(str(called))
