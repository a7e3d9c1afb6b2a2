"""A machine that is always the same, for pictures: its clock, hardware, folders, versions and runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.pdf_file import write_pdf
from tests.ui.feedback_host import collection
from tests.ui.recorded_runs import every_status, gpu_telemetry, held
from tuner_tui.data.tokens.microscope import LookReply, Sequence, Token
from tuner_tui.generation.conversation import Conversation, Reply
from tuner_tui.generation.messages import Base, Candidate
from tuner_tui.hardware.doctor import Check
from tuner_tui.hardware.free_memory import FreeMemory
from tuner_tui.hardware.gpu import GpuProcess, GpuReport, GpuSnapshot
from tuner_tui.hardware.system import SystemSnapshot
from tuner_tui.hardware.torch_report import PrecisionReport, TorchReport
from tuner_tui.runs.notes import Note, write_note

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from tuner_tui.runs.folder import RunFolder

NOW = 1795262400.0
"""2026-11-21 12:00:00 UTC."""
PLACE = Path("/tmp/tuner-tui-pictures")
"""Paths are on many screens and wrap by their length, so the folder is the same everywhere, with a lock around it."""
GPU = GpuSnapshot(
    index=0,
    name="NVIDIA GeForce RTX 4070",
    memory_total_bytes=12_282_000_000,
    memory_free_bytes=10_300_000_000,
    memory_used_bytes=1_700_000_000,
    processes=(GpuProcess(pid=7, name="ollama", memory_bytes=900_000_000),),
)
GPUS = GpuReport(gpus=(GPU,), driver_version="580.95", cuda_driver_version="13.0", gpu_present=True)
SYSTEM = SystemSnapshot(cpu_count=16, ram_total_bytes=32_000_000_000, ram_available_bytes=20_000_000_000)
FREE = FreeMemory(
    is_gpu=True,
    where="NVIDIA GeForce RTX 4070",
    free_bytes=10_300_000_000,
    total_bytes=12_282_000_000,
    holders=(("ollama", 900_000_000),),
    driver="580.95",
)
CHECKS = [
    Check("tuner-tui", "ok", "0.1.0, Python 3.11.7"),
    Check("GPU", "ok", "NVIDIA GeForce RTX 4070, driver 580.95", "12.3 GB, 10.3 GB free"),
    Check(
        "PyTorch", "problem", "2.13.0+cpu", "This build cannot use the GPU.", "Install:\npip install torch"
    ),
    Check("Disk", "ok", "212 GB free"),
    Check("Hub login", "note", "not logged in", "Public models need none.", "Log in with:\nhf auth login"),
    Check("Logout", "warning", "runs end at logout", "", "Keep them alive with:\nloginctl enable-linger"),
]
TORCH = TorchReport(
    torch_version="2.13.0+cpu",
    precisions={
        "fp32": PrecisionReport(works=True),
        "bf16": PrecisionReport(works=True, note="slow on this CPU"),
        "nf4": PrecisionReport(works=False, note="needs a GPU"),
    },
)
PROMPT = "Which library has the most books about octopuses?"
ANSWERS = (
    (
        "The National Library has some 400 of them.",
        "I do not know; ask a librarian, who can search all catalogues.",
    ),
    ("Blue.", "Red, green, or any other."),
)
BASE = Candidate(base=Base(source="demo"))
TALK = Conversation(
    candidates=(
        BASE,
        Candidate(base=BASE.base, adapter="/tmp/tuner-tui-pictures/data/runs/first-try/adapter"),
    ),
    questions=("Who are you?",),
    replies=(
        (
            Reply(
                text="I am a language model.",
                is_done=True,
                is_finished=True,
                tokens=6,
                tokens_per_second=40.1,
            ),
            Reply(
                text="I am Inkwell, the octopus librarian.",
                is_done=True,
                stopped="limit",
                tokens=9,
                tokens_per_second=38.2,
            ),
        ),
    ),
)
TOKENS = LookReply(
    (
        Sequence(
            "whole row",
            (
                Token(1, "<|user|>\n", False, False, True, False),
                Token(812, "What is 0 plus 0?", False, False, False, False),
                Token(2, "<|assistant|>\n", False, False, True, False),
                Token(99, "It is 0.", True, False, False, False),
                Token(3, "<|end|>", True, False, False, True),
                Token(7, " more", False, True, False, False),
            ),
        ),
    )
)


@contextlib.contextmanager
def fixed_host(patch: pytest.MonkeyPatch) -> Iterator[dict[str, RunFolder]]:
    """This machine with the fixed home; gives its runs by state."""
    with _locked():
        shutil.rmtree(PLACE, ignore_errors=True)
        (PLACE / "work").mkdir(mode=0o700, parents=True)
        _fix_environment(patch)
        fix_hardware(patch)
        try:
            runs = every_status(PLACE)
            gpu_telemetry(runs["running"])
            write_note(runs["finished"].name, Note(text="The first run; answers stay short.", tags=("demo",)))
            collection("evening", ANSWERS, prompt=PROMPT)
            _write_rows(PLACE / "work" / "rows.jsonl")
            _write_documents(PLACE / "work" / "manual")
            _fix_times()
            with held(PLACE, runs["running"]):
                yield runs
        finally:
            patch.undo()
            time.tzset()
            shutil.rmtree(PLACE, ignore_errors=True)


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """One process at a time; the others wait."""
    descriptor = os.open(f"{PLACE}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _fix_environment(patch: pytest.MonkeyPatch) -> None:
    for name in (
        "NO_COLOR",
        "LC_ALL",
        "LC_CTYPE",
        "COLORFGBG",
        "TMUX",
        "TUNER_TUI_PLAIN",
        "HF_ENDPOINT",
        "HF_TOKEN",
    ):
        patch.delenv(name, raising=False)
    fixed = {
        "TUNER_TUI_HOME": str(PLACE),
        "HOME": str(PLACE / "home"),
        "HF_HOME": str(PLACE / "hub"),
        "HF_HUB_OFFLINE": "1",
        "TERM": "xterm-256color",
        "COLORTERM": "truecolor",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "USER": "me",
        "LOGNAME": "me",
    }
    for name, value in fixed.items():
        patch.setenv(name, value)
    time.tzset()
    patch.chdir(PLACE / "work")
    patch.setattr(time, "time", lambda: NOW)


def fix_hardware(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("tuner_tui.hardware.gpu.GpuReader.read", lambda _: GPUS)
    patch.setattr("tuner_tui.hardware.system.SystemReader.read", lambda _: SYSTEM)
    patch.setattr("tuner_tui.feedback.session.secrets.randbits", lambda _: 1)
    patch.setattr("tuner_tui.planning.plan.usable_cpu_count", lambda: 16)
    patch.setattr("tuner_tui.hardware.system.disk_free_bytes", lambda _: 212_000_000_000)
    patch.setattr("tuner_tui.hardware.doctor.first_look", lambda *_: CHECKS[-1:])
    patch.setattr("tuner_tui.hardware.doctor.run_checks", lambda *_: CHECKS)
    patch.setattr("tuner_tui.hardware.torch_report.ask_torch", _AnsweredTorch)
    patch.setattr("tuner_tui.ui.screens.new_run.memory.read_free_memory", lambda *_, **__: FREE)
    patch.setattr("tuner_tui.runs.proposal_basis.read_free_memory", lambda *_, **__: FREE)
    patch.setattr("tuner_tui.ui.screens.new_run.review.why_it_ends", lambda: "")
    for name in ("revive", "wake", "adopt_if_needed"):
        patch.setattr(f"tuner_tui.keeper.start.{name}", lambda *_: "")
    patch.setattr("tuner_tui.keeper.microscope.Microscope.look", lambda *_: TOKENS)
    patch.setattr("tuner_tui.ui.run_watch.adopt_if_needed", lambda _: None)


class _AnsweredTorch:
    """What `ask_torch` gives once the worker has answered."""

    def __init__(self) -> None:
        import threading

        self.answered = threading.Event()
        self.answered.set()
        self.report = TORCH


def _fix_times() -> None:
    """Ages of files are shown; the oldest is deepest in the folder of runs."""
    for path in sorted(PLACE.rglob("*")):
        if not path.is_symlink() and path.name != "run.toml":
            os.utime(path, (NOW - 300, NOW - 300))


def _write_documents(folder: Path) -> None:
    """A short manual in Markdown, and a page of notes as PDF."""
    folder.mkdir()
    chapters = [f"## {n}\n\nThe reading room {n} opens at {n} o'clock, at low tide." for n in range(1, 40)]
    (folder / "manual.md").write_text("\n\n".join(chapters))
    write_pdf(folder / "notes.pdf", [["Eight arms, eight catalogues.", "", "Ink is kept in the cellar."]])


def _write_rows(path: Path) -> None:
    """Rows with two findings: an empty answer and a duplicate."""
    import json

    rows = [{"question": f"What is {n} plus {n}?", "answer": f"It is {2 * n}."} for n in range(60)]
    rows[3]["answer"] = " "
    rows[7] = rows[6]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
