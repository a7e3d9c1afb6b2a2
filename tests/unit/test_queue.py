"""The queue as a list of small files: its order, who waits for whom, and what that means for the keeper."""

from __future__ import annotations

import json
import shutil
import time
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from click.testing import CliRunner

from tuner_tui.cli.queue import queue as queue_command
from tuner_tui.config.spec import RunSpec
from tuner_tui.config.spec_file import read_spec
from tuner_tui.errors import InputError, NotFoundError, RunProblem
from tuner_tui.hardware.free_memory import FreeMemory
from tuner_tui.keeper import start
from tuner_tui.keeper.memory_needed import base_bytes, memory_needed
from tuner_tui.keeper.prerequisite import find_awaited
from tuner_tui.keeper.waiting import Line, has_work, shortage
from tuner_tui.models.facts import ModelFacts, facts_from
from tuner_tui.models.source import find_source
from tuner_tui.planning.oom_fallback import FallbackStep
from tuner_tui.planning.place import Place
from tuner_tui.planning.plan import PlannedMemory, encode_plan, make_plan
from tuner_tui.runs import lock, queue
from tuner_tui.runs.control import ask_to_end_now, leave_request, take_requests
from tuner_tui.runs.events import PROTOCOL, RunFailed, RunFinished, RunStarted, RunStopped
from tuner_tui.runs.folder import RunFolder
from tuner_tui.runs.journal import append_event

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tuner_tui.runs.events import Event

ENDINGS: dict[str, Event] = {
    "finished": RunFinished(step=3, loss=1.0, seconds=1.0),
    "failed": RunFailed(kind="error", title="It broke"),
    "stopped": RunStopped(step=2, checkpoint=None, seconds=1.0),
}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A data folder whose keeper we are, so that none is started."""
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    (tmp_path / "data").mkdir()
    held = lock.acquire(start.keeper_lock())
    assert held is not None
    yield tmp_path
    held.release()


def make_run(home: Path, name: str, status: str = "") -> RunFolder:
    folder = RunFolder(home / "data" / "runs" / name)
    folder.owned.claim()
    folder.control.mkdir()
    folder.spec.write_text("[model]\nsource = 3\n")
    folder.lock.touch()
    folder.events.touch()
    if status:
        append_event(folder.events, RunStarted(protocol=PROTOCOL))
        if status in ENDINGS:
            append_event(folder.events, ENDINGS[status])
    return folder


def waiting() -> list[str]:
    return [entry.folder.rpartition("/")[2] for _, entry in queue.entries()]


def fill(home: Path, *names: str) -> list[RunFolder]:
    folders = [make_run(home, name) for name in names]
    for folder in folders:
        queue.enqueue(folder)
    return folders


def ram(free: int | None, total: int | None = 100) -> FreeMemory:
    return FreeMemory(True, "a card", free, total, (("ollama", 40),))


def test_runs_move_and_new_ones_come_last(home: Path) -> None:
    a, b, c = fill(home, "a", "b", "c")
    start.move(c, 0)
    assert waiting() == ["c", "a", "b"]
    start.move(a, 99)
    assert waiting() == ["c", "b", "a"]
    queue.enqueue(make_run(home, "d"))
    assert waiting() == ["c", "b", "a", "d"]
    assert queue.withdraw("b")
    queue.enqueue(b)  # again: it has lost its place
    assert waiting() == ["c", "a", "d", "b"]
    with pytest.raises(RunProblem, match="not queued"):
        start.move(make_run(home, "e"), 0)


def test_a_clock_set_back_does_not_let_anyone_push_in(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(home, "a")
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - 3600 * 10**9)
    fill(home, "b", "c")
    assert waiting() == ["a", "b", "c"]


def test_moving_never_hides_an_entry(home: Path) -> None:
    """Entries stay the files they are: a keeper that has just claimed one still finds it."""
    a, _ = fill(home, "a", "b")
    [(path, _), _] = queue.entries()
    claimed = queue.claim(path)
    assert claimed is not None
    start.move(RunFolder(a.path.with_name("b")), 0)
    assert claimed.exists()
    with pytest.raises(RunProblem, match="not queued"):
        start.move(a, 0)


@pytest.mark.parametrize("junk", ["", "nonsense\n\n", "\x00\xff not a name", "order " * 1000])
def test_a_broken_order_leaves_all_in_the_order_they_came(home: Path, junk: str) -> None:
    fill(home, "a", "b")
    (home / "data" / "queue" / "order").write_text(junk)
    (home / "data" / "queue" / "junk.json").write_text("{}")
    (home / "data" / "queue" / "123-torn.json").write_text('{"fol')
    assert waiting() == ["a", "b"]


def test_an_entry_of_an_older_version_is_read(home: Path) -> None:
    folder = make_run(home, "old")
    (home / "data" / "queue").mkdir()
    path = home / "data" / "queue" / "00000000000000000001-old.json"
    path.write_text(json.dumps({"folder": str(folder.path), "resume": True}))
    [(_, entry)] = queue.entries()
    assert entry.resume
    assert entry.after is None


@pytest.mark.parametrize(
    ("status", "standing", "words"),
    [
        ("finished", "ready", ""),
        ("failed", "skipped", "which failed: It broke"),
        ("stopped", "behind", "which is stopped"),
        ("running", "behind", "which is interrupted"),  # began, and nobody holds its lock
    ],
)
def test_what_the_run_before_means(home: Path, status: str, standing: str, words: str) -> None:
    before, after = make_run(home, "before", status), make_run(home, "after")
    queue.enqueue(after, after=before.name)
    [place] = Line().places()
    assert place.state == standing
    assert words in place.reason
    assert has_work() == (standing != "behind")


def test_who_waits_for_another_run_lets_others_pass(home: Path) -> None:
    make_run(home, "before", "stopped")
    queue.enqueue(make_run(home, "behind"), after="before")
    queue.enqueue(make_run(home, "free"))
    place = Line().next()
    assert place is not None
    assert place.folder.name == "free"
    queue.withdraw("free")
    assert Line().next() is None


def test_a_run_before_that_was_deleted_skips(home: Path) -> None:
    before = make_run(home, "before", "finished")
    queue.enqueue(make_run(home, "behind"), after=before.name)
    shutil.rmtree(before.path)
    place = Line().next()
    assert place is not None
    assert place.state == "skipped"
    assert "deleted" in place.reason


def test_who_waits_for_memory_keeps_those_behind_it_waiting(home: Path) -> None:
    free = [10]
    line = Line(lambda device: ram(free[0]))
    large, small = make_run(home, "large"), make_run(home, "small")
    queue.enqueue(large, needs_bytes=60)
    queue.enqueue(small)
    place = line.next()
    assert place is not None
    assert (place.folder.name, place.state) == ("large", "short")
    assert "60 B of a card, and 10 B are free; ollama uses 40 B" in place.reason
    free[0] = 60
    place = line.next()
    assert place is not None
    assert place.state == "ready"
    free[0] = 0
    start.move(large, 0, regardless=True)
    place = line.next()
    assert place is not None
    assert (place.folder.name, place.state) == ("large", "ready")


def test_waiting_ends_where_it_cannot_help() -> None:
    assert shortage(60, ram(59))
    assert not shortage(60, ram(60))
    assert not shortage(60, ram(None))
    assert not shortage(101, ram(5))  # never fits: the run itself says so
    assert shortage(101, ram(5, None))


def test_the_weights_are_what_must_be_free(home: Path, tiny_model: Path) -> None:
    folder = make_run(home, "weighed")
    rows = home / "rows.jsonl"
    rows.write_text('{"text": "a"}\n')
    model = f'[model]\nsource = "{tiny_model}"\nprecision = "fp32"\n'
    folder.spec.write_text(f'{model}[data]\ntrain = "{rows}"\n[machine]\ndevice = "cpu"\n')
    device, needs = memory_needed(folder)
    assert device == "cpu"
    on_disk = sum(path.stat().st_size for path in tiny_model.glob("*.safetensors"))
    assert needs is not None
    assert abs(needs - on_disk) < 0.02 * on_disk
    spec = read_spec(folder.spec)
    memory = PlannedMemory(
        precision="nf4", micro_batch=1, is_checkpointing=True, allocated_bytes=9, low_bytes=8, high_bytes=10
    )
    plan = msgspec.structs.replace(make_plan(spec, find_source(spec.model.source)), memory=memory)
    folder.plan.write_bytes(encode_plan(plan))
    assert memory_needed(folder) == ("cpu", 8)
    fallback = FallbackStep(kind="free", before="", after="", reason="")
    folder.plan.write_bytes(encode_plan(msgspec.structs.replace(plan, fallbacks=(fallback,))))
    assert memory_needed(folder) == ("cpu", needs)
    folder.spec.write_text("= no TOML")
    assert memory_needed(folder) == ("auto", None)


QWEN3_30B_A3B = {
    "model_type": "qwen3_moe", "hidden_size": 2048, "num_hidden_layers": 48, "num_attention_heads": 32,
    "num_key_value_heads": 4, "head_dim": 128, "intermediate_size": 6144, "moe_intermediate_size": 768,
    "num_experts": 128, "num_experts_per_tok": 8, "vocab_size": 151936, "tie_word_embeddings": False,
}  # fmt: skip


@pytest.mark.parametrize(
    ("config", "precision", "tuning", "gigabytes"),
    [
        (QWEN3_30B_A3B, "nf4", "lora", 59.7),  # its experts stay in 16 bit
        (QWEN3_30B_A3B, "auto", "lora", 61.1),
        (QWEN3_30B_A3B, "auto", "full", 122.1),
        (QWEN3_30B_A3B | {"num_hidden_layers": None}, "auto", "lora", None),
    ],
)
def test_a_run_waits_for_the_weights_that_the_estimate_tells(
    config: dict[str, Any], precision: str, tuning: str, gigabytes: float | None
) -> None:
    spec = RunSpec.model_validate(
        {
            "model": {"source": "demo", "precision": precision},
            "data": {"train": "demo"},
            "tuning": {"kind": tuning},
        }
    )
    needed = base_bytes(spec, facts_from(config, {}), Place())
    assert needed == (None if gigabytes is None else pytest.approx(gigabytes * 1e9, abs=0.05e9))


def test_without_sizes_parameters_tell_what_whole_weights_take() -> None:
    spec = RunSpec.model_validate({"model": {"source": "demo"}, "data": {"train": "demo"}})
    assert base_bytes(spec, ModelFacts(parameters=1000), Place()) == 2000
    assert base_bytes(spec, ModelFacts(parameters=1000), Place(has_16_bit=False)) == 4000
    quantised = spec.model_copy(update={"model": spec.model.model_copy(update={"precision": "nf4"})})
    assert base_bytes(quantised, ModelFacts(parameters=1000), Place()) is None
    stored = ModelFacts(parameters=1000, quantisation="gptq", weight_bytes=700)
    assert base_bytes(spec, stored, Place()) == 700


def test_a_queue_on_hold_starts_nothing_and_goes_on(home: Path) -> None:
    start.hold_queue()
    fill(home, "a")
    assert not has_work()
    assert "on hold" in Line().words(RunFolder(home / "data" / "runs" / "a"))
    assert start.release_queue()
    assert not start.release_queue()
    assert has_work()


def test_a_run_is_awaited_for_its_adapter(home: Path) -> None:
    giver = make_run(home, "giver")
    queue.enqueue(giver)
    spec = RunSpec.model_validate(
        {"model": {"source": "demo", "adapter": "giver"}, "data": {"train": "demo"}}
    )
    assert find_awaited(spec).run == giver
    assert find_awaited(spec).gives_adapter
    other = make_run(home, "other", "stopped")
    assert find_awaited(spec, other).run == other
    assert not find_awaited(spec, other).gives_adapter
    assert find_awaited(spec, make_run(home, "done", "finished")).run is None
    with pytest.raises(RunProblem, match="failed"):
        find_awaited(spec, make_run(home, "broken", "failed"))
    queue.withdraw("giver")
    assert find_awaited(spec).run is None  # find_start then says that it has no adapter
    elsewhere = RunFolder(home / "elsewhere")
    with pytest.raises(InputError, match="elsewhere"):
        find_awaited(spec, elsewhere)


def run_command(*arguments: str) -> str:
    done = CliRunner().invoke(queue_command, arguments)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.output


def test_a_waiting_run_is_named_as_it_was_given(home: Path) -> None:
    """Of two runs called tools, the one that waits is meant."""
    make_run(home, "2026-11-29-tools-0b0b", "finished")
    first, tools = fill(home, "2026-11-30-first-aaaa", "2026-11-30-tools-52a5")
    assert f"Queue: {tools.name}, {first.name}" in " ".join(run_command("move", "tools", "first").split())
    run_command("move", "tools-52a5", "last")
    assert waiting() == [first.name, tools.name]
    run_command("start", "tools")
    assert waiting() == [tools.name, first.name]
    assert tools.name in run_command("remove", "tools")
    with pytest.raises(NotFoundError) as caught:
        run_command("move", "tolls", "first")
    assert "2026-11-30-tools-52a5" in caught.value.hint


def test_the_commands(home: Path) -> None:
    assert "The queue is empty" in run_command("list")
    fill(home, "a", "b", "c")
    assert "1. a" in run_command("list")
    assert "Queue: c, a, b" in run_command("move", "c", "first")
    assert "Queue: a, c, b" in run_command("move", "c", "down")
    assert "Queue: a, b, c" in run_command("move", "b", "up")
    assert "Queue: a, c, b" in run_command("move", "b", "3")
    assert "Queue: b, a, c" in run_command("start", "b")
    with pytest.raises(InputError, match="Invalid position"):
        run_command("move", "b", "0")
    with pytest.raises(RunProblem):
        run_command("move", make_run(home, "idle").name, "first")
    assert "removed from the queue" in run_command("remove", "b")
    with pytest.raises(RunProblem):
        run_command("remove", "b")
    run_command("hold")
    assert "on hold" in run_command("list")
    assert "released" in run_command("go")
    listed = json.loads(run_command("list", "--json"))
    assert [each["run"] for each in listed] == ["a", "c"]
    assert [each["place"] for each in listed] == [1, 2]


def test_a_paused_run_keeps_the_card_free_until_it_is_resumed(home: Path) -> None:
    from tuner_tui.keeper.loop import apply_pause

    paused = make_run(home, "paused", "running")
    append_event(paused.events, RunStopped(step=2, checkpoint=None, seconds=1.0, is_pause=True))
    apply_pause(paused)
    assert not queue.is_on_hold()  # nobody waits, and who comes later is meant to start
    fill(home, "waiting")
    apply_pause(paused)
    assert not has_work()
    assert "while paused is paused" in Line().words(RunFolder(paused.path.with_name("waiting")))
    assert "while paused is paused" in " ".join(run_command("list").split())
    start.submit(paused, resume=True)
    assert waiting() == ["paused", "waiting"]
    assert has_work()
    stopped = make_run(home, "stopped", "stopped")
    apply_pause(stopped)
    assert not queue.is_on_hold()


def test_a_persons_hold_outlives_a_pause_and_a_pause_not_its_run(home: Path) -> None:
    from tuner_tui.keeper.loop import apply_pause

    paused = make_run(home, "paused", "running")
    append_event(paused.events, RunStopped(step=2, checkpoint=None, seconds=1.0, is_pause=True))
    fill(home, "waiting")
    start.hold_queue()
    apply_pause(paused)
    start.submit(paused, resume=True)
    assert queue.is_on_hold()
    assert queue.withdraw("paused")
    start.release_queue()
    apply_pause(paused)
    assert not has_work()
    shutil.rmtree(paused.path)
    assert has_work()


def test_an_entry_that_was_taken_does_not_come_back(home: Path) -> None:
    fill(home, "a")
    ((path, _),) = queue.entries()
    assert queue.start_regardless("a")
    claimed = queue.claim(path)
    assert claimed is not None
    assert queue.start_regardless("a")
    assert [each for each, _ in queue.entries()] == [claimed]
    claimed.unlink()
    assert not queue.start_regardless("a")
    assert queue.entries() == []


def test_what_is_asked_while_a_run_starts_is_heeded_and_older_requests_are_not(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuner_tui.cli.runs import runs as runs_command
    from tuner_tui.keeper import process, supervise

    run = make_run(home, "run")
    leave_request(run, "stop")
    ask_to_end_now(run)
    start.submit(run)
    assert list(run.control.iterdir()) == []
    refused = CliRunner().invoke(runs_command, ["pause", "run"])
    assert "is queued" in str(refused.exception)
    asked = leave_request(run, "stop")
    held = lock.acquire(run.lock)
    assert held is not None
    monkeypatch.setattr(process, "start_worker", lambda *_, **__: None)
    supervise.start(run, held, is_resumed=False)
    held.release()
    assert [each.id for each in take_requests(run)] == [asked]
