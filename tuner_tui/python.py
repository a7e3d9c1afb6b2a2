"""Starts our Python processes without the current folder on the import path.

A `msgspec.py` in the current folder, a run's folder or the data folder would otherwise be imported instead of the
library. This file imports only modules that Python itself has already loaded at start.
"""

import os
import sys

PATH_VARIABLE = "PYTHONPATH"
_OUR_PARENT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120
_is_left_out = False


def python_command(module: str, *arguments: str) -> list[str]:
    """The command line that runs one of our modules in a new process, without the current folder on the path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def interpreter() -> str:
    """The path of the running Python, for display."""
    return sys.executable


def leave_current_folder_out() -> None:
    """Remove the current folder from this process's import path, and from `PYTHONPATH` for its children.

    It gets there as `sys.path[0]` of `python -m`, and by an empty or relative entry of `PYTHONPATH`. If it is the
    folder that tuner_tui was imported from (a source checkout), it stays.
    """
    global _is_left_out
    if _is_left_out:
        return
    _is_left_out = True
    try:
        current = os.getcwd()  # noqa: PTH109
    except OSError:  # it was deleted
        current = ""
    first = sys.path[0] if sys.path else None
    if not sys.flags.safe_path and first in ("", current) and current != _OUR_PARENT:
        del sys.path[0]
    if not os.environ.get(PATH_VARIABLE):
        return
    entries = os.environ[PATH_VARIABLE].split(os.pathsep)
    absolute = [entry for entry in entries if os.path.isabs(entry)]  # noqa: PTH117
    for entry in set(entries) - set(absolute):
        folder = os.path.normpath(os.path.join(current, entry))  # noqa: PTH118
        if folder in sys.path and folder != _OUR_PARENT:
            sys.path.remove(folder)
    os.environ[PATH_VARIABLE] = os.pathsep.join(absolute)
