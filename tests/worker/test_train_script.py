"""A run's train.py, run without us, ends with the run's own weights; what it cannot repeat is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file

from tuner_tui.errors import InputError
from tuner_tui.sharing.run_facts import read_facts
from tuner_tui.sharing.train_script import write_script

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.worker.runs import Run

ASKED = ("Who?", "Why?", "When?", "Where?", "How many?", "Which?", "Whose?", "What?")
PAIRS = [
    {
        "prompt": [{"role": "user", "content": asked}],
        "chosen": [{"role": "assistant", "content": f"A good answer to {asked}"}],
        "rejected": [{"role": "assistant", "content": f"Nothing {number}."}],
    }
    for number, asked in enumerate(ASKED)
]
RATED = [
    {"prompt": asked, "completion": f" Answer {number}.", "label": number % 2 == 0}
    for number, asked in enumerate(ASKED)
]
MAPPED = [{"q": asked, "a": f" Said {asked} "} for asked in ASKED]
OWN = (
    "{% for message in messages %}[{{ message['role'] }}]{{ message['content'] }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "rows", "data"),
    [
        ("sft", None, {"template": "own"}),
        ("sft", MAPPED, {"fixes": ["trim"], "mapping": ["prompt = {q}", "completion = {a}"]}),
        ("dpo", PAIRS, {}),
        ("kto", RATED, {}),
        ("reward", PAIRS, {}),
    ],
)
def test_the_script_ends_with_the_same_weights(
    method: str, rows: Any, data: dict[str, Any], train: Callable[..., Run], tmp_path: Path
) -> None:
    if "template" in data:
        own = tmp_path / "own.jinja"
        own.write_text(OWN)
        data = {"template": str(own), "allow": ["template_changed"]}
    tables: dict[str, Any] = {"method": {"kind": method}, "data": data}
    folder = train(rows, training={"max_steps": 2, "seed": 5}, **tables).folder
    out = tmp_path / "script"
    out.mkdir()
    write_script(read_facts(folder), out)
    done = subprocess.run(
        [sys.executable, "train.py"],
        cwd=out,
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    ours = load_file(folder.adapter / "adapter_model.safetensors")
    theirs = load_file(out / "trained" / "adapter_model.safetensors")
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(theirs[name], tensor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"method": {"kind": "orpo"}}, "trained by orpo"),
        ({"data": {"evaluation_share": 0.2}}, "held out random rows"),
        ({"training": {"group_by_length": True}}, "grouped rows by length"),
    ],
)
def test_what_cannot_be_repeated_is_refused(
    tables: dict[str, Any], told: str, make_run: Any, tmp_path: Path
) -> None:
    from tuner_tui.config.spec_file import read_spec
    from tuner_tui.planning.plan import decode_plan
    from tuner_tui.runs.state import RunState
    from tuner_tui.sharing.run_facts import RunFacts

    folder = make_run(PAIRS if "method" in tables else None, **tables)
    plan = decode_plan(folder.plan.read_bytes())
    facts = RunFacts(folder, read_spec(folder.spec), plan, RunState().snapshot(), None)
    with pytest.raises(InputError, match="cannot be repeated") as error:
        write_script(facts, tmp_path)
    assert told in error.value.message
    assert not (tmp_path / "train.py").exists()


@pytest.mark.parametrize("is_checkpointing", [True, False])
def test_the_script_keeps_activations_as_the_run_did(
    is_checkpointing: bool, make_run: Any, tmp_path: Path
) -> None:
    from tuner_tui.config.spec_file import read_spec
    from tuner_tui.planning.oom_fallback import Shape
    from tuner_tui.planning.plan import decode_plan
    from tuner_tui.runs.events import TrainingStarted
    from tuner_tui.runs.state import RunState
    from tuner_tui.sharing.run_facts import RunFacts

    folder = make_run(PAIRS, method={"kind": "dpo"})
    out = tmp_path / "script"
    out.mkdir()
    shape = Shape(micro_batch=2, batch_size=4, is_checkpointing=is_checkpointing)
    state = RunState()
    state.apply(TrainingStarted(total_steps=2, micro_batch=2, accumulation=2, shape=shape))
    plan = decode_plan(folder.plan.read_bytes())
    write_script(RunFacts(folder, read_spec(folder.spec), plan, state.snapshot(), None), out)
    assert f"'activation_checkpointing': {is_checkpointing}," in (out / "train.py").read_text()
