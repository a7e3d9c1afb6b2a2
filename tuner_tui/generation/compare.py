"""Comparing base and tuned model in a process of its own: request, result, call."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tuner_tui import guarded
from tuner_tui.errors import TunerError
from tuner_tui.files import last_lines, open_log
from tuner_tui.guarded import Unreadable
from tuner_tui.hardware.environment import worker_environment
from tuner_tui.python import python_command

if TYPE_CHECKING:
    from tuner_tui.runs.folder import RunFolder


class CompareRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Questions for a run's base and adapter."""

    adapter: str
    """The adapter's folder; the base is the one that its configuration names."""
    prompts: tuple[str, ...]
    text: str = ""
    """Text whose perplexity is measured; none when empty."""
    max_new_tokens: int = 48
    result: str = ""
    """Where the result is written."""


class CompareResult(msgspec.Struct, frozen=True, kw_only=True):
    """Greedy answers in the prompts' order, and perplexity on the text (exp of the mean loss per token)."""

    base: tuple[str, ...]
    tuned: tuple[str, ...]
    base_perplexity: float | None
    tuned_perplexity: float | None


def compare(folder: RunFolder, request: CompareRequest, threads: int) -> CompareResult:
    """Load base and adapter with plain transformers and PEFT, and generate. Raises TunerError when that fails."""
    with tempfile.TemporaryDirectory(prefix="tuner-tui-") as scratch:
        result = Path(scratch) / "result.json"
        request_file = Path(scratch) / "request.json"
        request_file.write_bytes(msgspec.json.encode(msgspec.structs.replace(request, result=str(result))))
        with open_log(folder.log) as log:
            code = subprocess.run(
                python_command("tuner_tui.worker", "compare", str(request_file)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=worker_environment(threads),
                check=False,
            ).returncode
        try:
            return guarded.read_json(result, CompareResult)
        except Unreadable:
            last = next(iter(last_lines(folder.log, 1)), "")
            raise TunerError(
                "Base and tuned could not be compared",
                f"The process ended with exit code {code}: {last}",
                f"The log is {folder.log}.",
            ) from None
