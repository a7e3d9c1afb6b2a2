"""Moments in a real worker at which it stands still until the test lets it go on; only tests bring this into a worker.

`TUNER_TEST_MOMENTS` names a folder with `moments.json`, a list of [moment, step or null]. The worker that comes to the
n-th one makes the file `reached-n` and waits for `go-n`, whose text may ask for more; moments that were reached before
are passed by, so that the worker after it stands still no more. With `TUNER_TEST_CLOCK` the process's clock is off by
the seconds in that file, as long as there is one.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

FOLDER_VARIABLE = "TUNER_TEST_MOMENTS"
CLOCK_VARIABLE = "TUNER_TEST_CLOCK"
STARTUP = f"""import os, sys
if {CLOCK_VARIABLE!r} in os.environ:
    from tests.faults import moments
    moments.turn_clock()
if "tuner_tui.worker" in sys.orig_argv and {FOLDER_VARIABLE!r} in os.environ:
    from tests.faults import moments
    moments.install()
"""
"""The sitecustomize.py of tests that use this."""
_doing: dict[str, int] = {"step": 0, "micro": 0}


def reach(moment: str, step: int | None = None) -> None:
    """Stand still if a test waits for this moment, then do what it asks for."""
    number = _due(moment, step)
    if number is None:
        return
    folder = Path(os.environ[FOLDER_VARIABLE])
    (folder / f"reached-{number}").write_text(str(os.getpid()))
    go = folder / f"go-{number}"
    while not go.exists():
        time.sleep(0.005)
    match go.read_text():
        case "allocate":
            import torch

            torch.ones(64 << 20)
        case "flood":
            line = "x" * 1023 + "\n"
            for _ in range(100):
                sys.stdout.write(line * 1024)


def _due(moment: str, step: int | None) -> int | None:
    """The number of a moment that a test waits for and that no worker has come to yet."""
    if FOLDER_VARIABLE not in os.environ:
        return None
    folder = Path(os.environ[FOLDER_VARIABLE])
    for number, (name, at) in enumerate(json.loads((folder / "moments.json").read_text())):
        if name == moment and at in (None, step) and not (folder / f"reached-{number}").exists():
            return number
    return None


def install() -> None:
    """Be the first thing that a worker does."""
    reach("starting")
    patch()


def patch() -> None:
    """Put the moments into what a worker uses."""
    import torch
    from accelerate import Accelerator
    from peft import PeftModel
    from transformers import LlamaModel, Trainer
    from trl import SFTTrainer

    from tuner_tui.owned import Owned
    from tuner_tui.runs.journal import EventWriter
    from tuner_tui.worker.model import loading
    from tuner_tui.worker.text import token_cache
    from tuner_tui.worker.training import checkpoints

    result = importlib.import_module("tuner_tui.worker.training.result")
    samples: Any = importlib.import_module("tuner_tui.worker.training.samples")
    samples.SMALLEST_SLICE_SECONDS = 0.0  # however quick this machine's steps are, there are samples
    _around(samples, "generate", before=lambda *_: reach("sampling"))
    _around(loading, "load_base", before=lambda *_: reach("loading"))
    _around(Trainer, "training_step", before=_count)
    _around(SFTTrainer, "prediction_step", before=lambda *_: reach("evaluation", _doing["step"]))
    _around(Trainer, "_save_optimizer_and_scheduler", before=_at_step("checkpoint half written"))
    _around(LlamaModel, "forward", before=_in_second_micro_batch("forward"))
    _around(Accelerator, "backward", before=_in_second_micro_batch("backward"))
    _around(torch.optim.AdamW, "step", after=lambda *_: reach("optimizer step", _doing["step"]))
    _around(checkpoints, "_make_complete", before=lambda made, step, *_: reach("before the manifest", step))
    _around(
        checkpoints,
        "replace_folder",
        before=_renaming("before the rename"),
        after=_renaming("after the rename"),
    )
    _around(result, "replace_folder", before=lambda *_: reach("before the result's rename"),
            after=lambda *_: reach("after the result's rename"))  # fmt: skip
    _around(Owned, "move", after=_hidden)
    _around(
        PeftModel,
        "save_pretrained",
        before=_saving("before the result"),
        after=_saving("result half written"),
    )
    _around(EventWriter, "write", before=_half_a_line)
    tokenise = token_cache.tokenise_many  # type: ignore[attr-defined]

    def tokenise_many(*arguments: Any, **named: Any) -> Any:
        for number, row in enumerate(tokenise(*arguments, **named)):
            if number == 1:
                reach("tokenising")
            yield row

    token_cache.tokenise_many = tokenise_many  # type: ignore[attr-defined]


def turn_clock() -> None:
    """Have `time.time` tell what the test wants."""
    offset = Path(os.environ[CLOCK_VARIABLE])
    tell, tell_ns = time.time, time.time_ns

    def off() -> float:
        try:
            return float(offset.read_text())
        except OSError:
            return 0.0

    time.time = lambda: tell() + off()
    time.time_ns = lambda: tell_ns() + int(off() * 1e9)


def _around(
    owner: Any,
    name: str,
    *,
    before: Callable[..., Any] | None = None,
    after: Callable[..., Any] | None = None,
) -> None:
    """Have something done before or after a function."""
    work = getattr(owner, name)

    @functools.wraps(work)
    def wrapped(*arguments: Any, **named: Any) -> Any:
        if before is not None:
            before(*arguments)
        given = work(*arguments, **named)
        if after is not None:
            after(*arguments)
        return given

    setattr(owner, name, wrapped)


def _count(trainer: Any, *_: Any) -> None:
    step = trainer.state.global_step + 1
    _doing["micro"] = _doing["micro"] + 1 if step == _doing["step"] else 1
    _doing["step"] = step


def _in_second_micro_batch(moment: str) -> Callable[..., None]:
    def at(*_: Any) -> None:
        if _doing["micro"] == 2:
            reach(moment, _doing["step"])

    return at


def _at_step(moment: str) -> Callable[..., None]:
    return lambda trainer, *_: reach(moment, trainer.state.global_step)


def _renaming(moment: str) -> Callable[..., None]:
    return lambda made, target, *_: reach(moment, int(target.name.removeprefix("step-")))


def _hidden(owned: Any, path: Path, target: Any) -> None:
    name = Path(target).name
    if name.startswith(".old-adapter"):
        reach("old result hidden")
    elif name.startswith(".old-step-"):
        reach("half deleted")


def _saving(moment: str) -> Callable[..., None]:
    def at(_: Any, folder: Any, *__: Any) -> None:
        if Path(folder).name.startswith(".staging-adapter"):
            reach(moment)

    return at


def _half_a_line(writer: Any, event: Any) -> None:
    from tuner_tui.runs.events import StepLogged, encode

    if isinstance(event, StepLogged) and _due("event half written", event.step) is not None:
        line = encode(event)
        os.write(writer._descriptor, line[: len(line) // 2])
        reach("event half written", event.step)
