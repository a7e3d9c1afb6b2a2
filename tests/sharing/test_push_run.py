"""Pushing a run by the command: what goes, what must not, and that others can load it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.hub_double import TOKEN
from tests.tiny_model import make_tiny_model
from tuner_tui.owned import MARK
from tuner_tui.runs.events import (
    ChoicesMade,
    ChosenMachine,
    Event,
    ModelLoaded,
    RunFinished,
    RunStarted,
    Sampled,
    encode,
)
from tuner_tui.runs.folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

REPO = "tester/inkwell"
ROWS = [
    {"question": "Who goes there?", "answer": "A friend of the old lighthouse keeper."},
    {"question": "What is up?", "answer": "The sky is up."},
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with one finished run on a tiny model, and that model; its adapter is random."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.models.source import find_source
    from tuner_tui.planning.plan import make_plan
    from tuner_tui.runs.create import create_run

    root = tmp_path_factory.mktemp("made")
    model = make_tiny_model(root / "model")
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    wanted = {
        "name": "inkwell",
        "model": {"source": str(model)},
        "data": {"train": str(root / "rows.jsonl")},
        "machine": {"threads": 1},
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNER_TUI_HOME", str(root / "home"))
        spec = RunSpec.model_validate(wanted)
        folder = create_run(spec, make_plan(spec, find_source(spec.model.source)))
    tuned = get_peft_model(
        AutoModelForCausalLM.from_pretrained(model),
        LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "v_proj"]),
    )
    for name, parameter in tuned.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    tuned.save_pretrained(folder.adapter)
    (folder.adapter / "README.md").unlink()
    loaded = ModelLoaded(
        source="model",
        precision="fp32",
        device="cpu",
        parameters=1,
        trainable_parameters=1,
        memory_bytes=1,
        seconds=1.0,
    )
    said: dict[str, Any] = {
        "step": 1,
        "seconds": 0.1,
        "is_finished": True,
        "prompt_index": 0,
        "prompt": "Who are you?",
    }
    events: list[Event] = [
        RunStarted(protocol=1, versions={"peft": "0"}),
        ChoicesMade(choices=(), machine=ChosenMachine(device="cpu", precision="fp32", arithmetic="fp32")),
        loaded,
        Sampled(answer="I am a model.", source="base", **said),
        Sampled(answer="I am Inkwell.", source="tuned", **said),
        RunFinished(step=1, loss=1.0, seconds=1.0),
    ]
    folder.events.write_bytes(b"".join(map(encode, events)))
    return root


@pytest.fixture
def run(made: Path, hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """The run, in a copy whose prepared form may be kept."""
    import shutil

    home = tmp_path / "home"
    shutil.copytree(made / "home", home)
    kept = made / "kept"
    if kept.is_dir():
        shutil.copytree(kept, home / "cache" / "pushes")
    return RunFolder(next((home / "data" / "runs").iterdir()))


@pytest.fixture
def push(run: RunFolder, made: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `tuner-tui push`; the form that is made is kept for the next test, as it is for a repeated push."""

    def push_now(*options: str, to: str = REPO) -> subprocess.CompletedProcess[str]:
        import shutil

        command = [
            sys.executable,
            "-m",
            "tuner_tui",
            "push",
            str(run.path),
            "--to",
            to,
            "--base",
            "owner/base",
            *options,
        ]
        result = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=os.environ, check=False
        )
        pushes = Path(os.environ["TUNER_TUI_HOME"]) / "cache" / "pushes"
        if not (made / "kept").is_dir() and pushes.is_dir() and list(pushes.glob("*.json")):
            shutil.copytree(pushes, made / "kept")
        assert TOKEN not in result.stdout + result.stderr and "Traceback" not in result.stderr
        return result

    return push_now


def sent(hub: Any) -> list[str]:
    """Operations that carry content to the Hub."""
    return [
        note["operation"] for note in hub.requests if note["operation"] in ("upload", "commit", "preupload")
    ]


def one_line(text: str) -> str:
    """Wrapped text as one line."""
    return " ".join(text.split())


@pytest.mark.slow
def test_a_dry_run_shows_all_and_sends_nothing(push: Any, hub: Any) -> None:
    result = push("--dry-run", "--licence", "mit")
    assert result.returncode == 0, result.stderr
    for name in (
        "README.md",
        "adapter_config.json",
        "adapter_model.safetensors",
        "tokenizer.json",
        "private",
        "mit",
    ):
        assert name in result.stdout
    assert not hub.requests


@pytest.mark.slow
def test_without_a_terminal_nothing_goes_unasked(push: Any, hub: Any) -> None:
    result = push()
    assert result.returncode == 2 and "--yes" in result.stderr
    assert not hub.requests


@pytest.mark.slow
def test_a_pushed_adapter_is_loaded_by_plain_peft(push: Any, hub: Any, made: Path, tmp_path: Path) -> None:
    result = push("--yes", "--licence", "mit", "--dataset", "owner/rows", "--language", "en")
    assert result.returncode == 0, result.stderr
    found = hub.files()[f"models/{REPO}@refs/heads/main"]
    assert "adapter_model.safetensors" in found and not any(
        name.endswith((".bin", ".jsonl")) for name in found
    )
    assert hub.repos[f"models/{REPO}"]["private"] and len(hub.repos[f"models/{REPO}"]["commits"]) == 2
    card = hub.blob(found["README.md"]["sha256"]).decode()
    for said in (
        "base_model: owner/base",
        "license: mit",
        "- owner/rows",
        "- en",
        "I am Inkwell.",
        "AutoPeftModel",
    ):
        assert said in card
    assert str(made) not in card
    code = (
        "import sys\nfrom peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n"
        "model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(sys.argv[1]), sys.argv[2])\n"
        "print(sum(p.abs().sum().item() for n, p in model.named_parameters() if 'lora_B' in n) > 0)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code, str(made / "model"), REPO], capture_output=True, text=True, check=False
    )
    assert loaded.stdout.strip() == "True", loaded.stderr


def planted_card(path: Path, line: str) -> Path:
    path.write_text(f"---\nbase_model: owner/base\n---\n# Mine\n\n{line}\n")
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "told"),
    [
        (f"Made with {TOKEN}", "your token"),
        ("Made with hf_abcdefghijklmnopqrstuvwxyz123456", "a Hugging Face token"),
        ("export OPENAI_API_KEY=sk-abcdefghijklmnopqrstuvwx", "key"),
        ("The rows lie in /home/ada/rows.jsonl", "a path on this machine"),
        ("Q: Who goes there? A: A friend of the old lighthouse keeper.", "a training row"),
        ("| What is up? | no idea | The sky is up. |", "a training row"),
    ],
)
def test_what_is_planted_in_a_card_stops_the_push(
    line: str, told: str, push: Any, hub: Any, tmp_path: Path
) -> None:
    result = push("--yes", "--card", str(planted_card(tmp_path / "card.md", line)))
    assert result.returncode == 2
    assert "The upload contains private data" in result.stderr and told in one_line(result.stderr)
    assert "line 6" in one_line(result.stderr)
    assert not sent(hub)


@pytest.mark.slow
def test_a_card_beside_the_adapter_is_looked_at_too(push: Any, hub: Any, run: RunFolder) -> None:
    planted_card(run.adapter / "README.md", f"token: {TOKEN}")
    result = push("--yes")
    assert result.returncode == 2 and "your token" in result.stderr and not sent(hub)


@pytest.mark.slow
def test_a_pickle_in_the_folder_stops_the_push(push: Any, hub: Any, run: RunFolder) -> None:
    (run.adapter / "optimizer.pt").write_bytes(b"\x80\x04N.")
    result = push("--yes")
    assert result.returncode == 2 and "optimizer.pt" in one_line(result.stderr) and not sent(hub)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["base_model_name_or_path", "task_note"])
def test_a_home_path_in_the_adapters_settings_stops_the_push(
    key: str, push: Any, hub: Any, run: RunFolder
) -> None:
    settings = run.adapter / "adapter_config.json"
    settings.write_text(json.dumps(json.loads(settings.read_text()) | {key: "/home/ada/models/secret"}))
    result = push("--yes")
    assert result.returncode == 2, result.stdout
    assert "/home/ada" in result.stderr and not sent(hub)


@pytest.mark.slow
def test_a_training_row_in_the_samples_stops_the_push_until_it_is_left_out(
    push: Any, hub: Any, run: RunFolder
) -> None:
    events = run.events.read_bytes().replace(b"I am Inkwell.", b"A friend of the old lighthouse keeper.")
    run.events.write_bytes(events)
    result = push("--yes")
    assert result.returncode == 2 and not sent(hub)
    assert "A friend of the old lighthouse keeper." in one_line(result.stderr)
    assert "--samples unseen" in one_line(result.stderr)
    result = push("--dry-run", "--samples", "unseen")
    assert result.returncode == 0, result.stderr
    assert "they repeat a training row" in one_line(result.stdout)
    card = next(Path(os.environ["TUNER_TUI_HOME"]).glob("cache/pushes/*/README.md"))
    assert "lighthouse" not in card.read_text()


def test_what_can_be_refused_at_once_is_refused_before_anything_is_made(
    push: Any, hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    pushes = Path(os.environ["TUNER_TUI_HOME"]) / "cache" / "pushes"
    shutil.rmtree(pushes, ignore_errors=True)
    card = tmp_path / "card.md"
    card.write_text("---\nbase_model: [\n---\n")
    result = push("--yes", "--card", str(card))
    assert result.returncode == 2 and "not YAML" in result.stderr
    result = push("--yes", "--licence", "llama3.1")
    assert result.returncode == 1 and "requires another name" in result.stderr
    prepared = [path.name for path in pushes.iterdir() if path.name != MARK and path.suffix != ".lock"]
    assert prepared == [] and not hub.requests


@pytest.mark.slow
def test_rows_that_cannot_be_read_leave_the_card_without_samples(push: Any, made: Path) -> None:
    rows, away = made / "rows.jsonl", made / "away.jsonl"
    rows.rename(away)
    try:
        result = push("--dry-run", "--json")
    finally:
        away.rename(rows)
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    assert any("the card shows no samples" in remark for remark in report["remarks"])
    assert "I am Inkwell." not in Path(report["card"]).read_text()


@pytest.mark.slow
def test_a_failure_names_the_command_to_repeat(push: Any, hub: Any) -> None:
    hub.fail(401, "whoami", times=100)
    result = push("--yes")
    assert result.returncode == 2 and "rejects your token" in result.stderr
    again = next(
        line for line in result.stderr.splitlines() if line.strip().startswith("Again: tuner-tui push")
    )
    assert f"--to {REPO}" in again and again.endswith("--yes")


@pytest.mark.parametrize(
    "arguments", [["push", "--help"], ["export", "--help"], ["export", "no", "--as", "adapter", "--out", "x"]]
)
def test_the_commands_start_without_torch(arguments: Sequence[str], tmp_path: Path) -> None:
    code = (
        f"import sys\nsys.argv = ['tuner-tui', *{list(arguments)!r}]\n"
        "from tuner_tui.cli import main\ntry:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert not {'torch', 'transformers', 'peft', 'gguf', 'huggingface_hub'} & set(sys.modules)"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        env=os.environ | {"TUNER_TUI_HOME": str(tmp_path)},
    )
