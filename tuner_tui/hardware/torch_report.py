"""Reports what torch can do on this machine, through a child process, so that this one never loads torch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

import msgspec

from tuner_tui.python import python_command

INSPECT_COMMAND = python_command("tuner_tui.worker", "inspect")


class TorchDevice(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU as torch sees it."""

    name: str
    capability: tuple[int, int] | None = None
    bf16: bool = False


class PrecisionReport(msgspec.Struct, frozen=True):
    """Whether a base in this precision trains here, and how or why not."""

    works: bool
    note: str = ""


class TorchReport(msgspec.Struct, frozen=True, kw_only=True):
    """The JSON line that `python -m tuner_tui.worker inspect` prints, or the error."""

    torch_version: str | None = None
    cuda_build: str | None = None
    """The CUDA this torch was built for, as "13.0"; `None` for a processor-only or ROCm build."""
    rocm_build: str | None = None
    arch_list: tuple[str, ...] = ()
    """Architectures of the build: "sm_86" runs on 8.6 and later 8.x, "compute_90" on anything from 9.0."""
    cuda_available: bool = False
    devices: tuple[TorchDevice, ...] = ()
    cpu_bf16_fast: bool = False
    bitsandbytes: str | None = None
    """ "ok", or the text of the error that keeps it from working; `None` when it was not checked."""
    precisions: dict[str, PrecisionReport] = {}
    error: str | None = None


def read_torch_report(timeout: float = 90, command: Sequence[str] = INSPECT_COMMAND) -> TorchReport:
    """Run the worker's report; failures are returned as a report with `error` set."""
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
    except OSError as error:
        return TorchReport(error=f"The check could not start: {error}.")
    with process:
        try:
            output, complaints = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            _end(process)
            return TorchReport(error=f"torch did not answer within {timeout:g} seconds.")
        except BaseException:
            _end(process)  # Ctrl-C: the child is in its own session and would keep running
            raise
    report = _parse(output)
    if report is not None:
        return report
    return TorchReport(error=_explain(process.returncode, complaints))


class AskedTorch:
    """A report in progress, shared by all callers."""

    def __init__(self) -> None:
        self.report = TorchReport(error="The check has not ended.")
        self.answered = threading.Event()

    def read(self) -> None:
        """Run the report."""
        try:
            self.report = read_torch_report()
        finally:
            self.answered.set()


_asked: AskedTorch | None = None
_asking = threading.Lock()


def ask_torch() -> AskedTorch:
    """Start a report in a thread, or share the one in progress: each needs a process with torch."""
    global _asked
    with _asking:
        if _asked is None or _asked.answered.is_set():
            _asked = AskedTorch()
            threading.Thread(target=_asked.read, daemon=True).start()
        return _asked


def _parse(output: str) -> TorchReport | None:
    """The last line that is a report; libraries may print before and after it."""
    for line in reversed(output.splitlines()):
        if not line.startswith("{"):
            continue
        try:
            return msgspec.json.decode(line, type=TorchReport)
        except msgspec.MsgspecError:
            continue
    return None


def _explain(exit_code: int, complaints: str) -> str:
    last = next((line.strip() for line in reversed(complaints.splitlines()) if line.strip()), "")
    if exit_code < 0:
        try:
            name = signal.Signals(-exit_code).name
        except ValueError:
            name = str(-exit_code)
        cause = f"The check was ended by {name}"
        if name == "SIGILL":
            cause += " (this torch was built for a newer processor)"
    elif "No module named 'torch'" in last:
        return "torch is not installed."
    elif exit_code:
        cause = f"The check ended with exit code {exit_code}"
    else:
        cause = "The check gave no readable answer"
    return f"{cause}: {last}" if last else f"{cause}."


def _end(process: subprocess.Popen[str]) -> None:
    """End the child and what it started, which would otherwise hold the pipes open."""
    if sys.platform == "win32":
        process.kill()
    else:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
