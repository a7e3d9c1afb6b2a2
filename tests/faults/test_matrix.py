"""Every fault at every moment: a real run meets it, is brought to its end, and is the same as one that met none.

`python -m tests.faults.matrix` runs this and prints fault x moment x outcome.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from tests.faults import fault_kinds as faults
from tests.faults import moments
from tests.faults.home import Home
from tests.faults.nursery import COLD_VARIABLE, Nursery
from tests.faults.nursery import start as start_nursery
from tests.faults.scenes import REPOSITORY, Result, Scene
from tests.tiny_model import make_tiny_model
from tuner_tui.keeper import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.faults.scenes import At

KILL, TERM, HUP = signal.SIGKILL, signal.SIGTERM, signal.SIGHUP
KILLED, CUT_OFF = ("failed (killed)", "finished"), ("interrupted", "finished")
STOPPED, FAILED, WENT_ON = ("stopped", "finished"), ("failed (error)", "finished"), ("finished",)
UNWRITTEN = ("failed (error)|interrupted", "finished")
"""Whether the last event still found room is chance."""
LOADING: At = ("loading", None)
TOKENISING: At = ("tokenising", None)
FORWARD: At = ("forward", 5)
LATER: At = ("forward", 9)
AFTER_TWO: At = ("forward", 8)
"""When two checkpoints stand, of the steps 3 and 6."""
BACKWARD: At = ("backward", 5)
UPDATE: At = ("optimizer step", 7)
HALF_SAVED: At = ("checkpoint half written", 6)
NO_MANIFEST: At = ("before the manifest", 6)
BEFORE_RENAME: At = ("before the rename", 6)
AFTER_RENAME: At = ("after the rename", 6)
HALF_DELETED: At = ("half deleted", None)
EVALUATION: At = ("evaluation", 4)
HALF_RESULT: At = ("result half written", None)
RESULT_UNNAMED: At = ("before the result's rename", None)
RESULT_NAMED: At = ("after the result's rename", None)
OLD_HIDDEN: At = ("old result hidden", None)
TINY_DISK = "size=3m"
FOLLOW = ("runs", "follow", "RUN")


@dataclass(frozen=True)
class Cell:
    """One fault at one moment, and how the attempts must end; `|` stands between what may be."""

    fault: str
    do: Callable[[Scene], Any]
    stops: tuple[At, ...]
    endings: tuple[str, ...]
    tables: dict[str, Any] = field(default_factory=dict)
    disk: str = ""
    """Mount options of a disk of its own for the data folder."""
    has_bad_row: bool = False

    @property
    def moment(self) -> str:
        name, step = self.stops[0]
        return name if step is None else f"{name}, step {step}"

    @property
    def id(self) -> str:
        return f"{self.fault} at {self.moment}"


def at_each(fault: str, do: Callable[[Scene], Any], endings: tuple[str, ...], *stops: At) -> list[Cell]:
    """The same fault at several moments."""
    return [Cell(fault, do, (stop,), endings) for stop in stops]


CELLS = [
    *at_each(
        "worker SIGKILL", faults.signal_worker(KILL), KILLED,
        ("starting", None), LOADING, TOKENISING, FORWARD, BACKWARD, UPDATE, ("event half written", 7), EVALUATION,
        HALF_SAVED, NO_MANIFEST, BEFORE_RENAME, AFTER_RENAME, HALF_DELETED, HALF_RESULT, RESULT_UNNAMED, RESULT_NAMED,
    ),
    Cell("worker SIGKILL twice", faults.kill_twice, (RESULT_NAMED, OLD_HIDDEN),
         ("failed (killed)", "failed (killed)", "finished")),
    *at_each("worker SIGTERM", faults.signal_worker(TERM), STOPPED, LOADING, TOKENISING, FORWARD, HALF_SAVED),
    *at_each("worker SIGTERM", faults.signal_worker(TERM), WENT_ON, HALF_RESULT),
    *at_each("worker SIGHUP", faults.signal_worker(HUP), WENT_ON, FORWARD, HALF_SAVED),
    *at_each("worker SIGSTOP/SIGCONT", faults.stop_and_continue_worker, WENT_ON, FORWARD, HALF_SAVED),
    *at_each("keeper SIGKILL", faults.signal_keeper(KILL), WENT_ON, LOADING, FORWARD, BEFORE_RENAME, HALF_RESULT),
    *at_each("keeper SIGTERM", faults.signal_keeper(TERM), WENT_ON, FORWARD),
    *at_each("keeper SIGHUP", faults.signal_keeper(HUP), WENT_ON, FORWARD),
    *at_each("keeper SIGSTOP/SIGCONT", faults.stop_and_continue_keeper, WENT_ON, UPDATE),
    *at_each("keeper stopped and replaced", faults.replace_stopped_keeper, WENT_ON, LOADING, UPDATE, HALF_SAVED),
    *at_each("run folder renamed", faults.rename_folder(), WENT_ON, LOADING, TOKENISING, FORWARD, HALF_SAVED,
             NO_MANIFEST, BEFORE_RENAME, HALF_DELETED, HALF_RESULT, RESULT_UNNAMED, RESULT_NAMED),
    *at_each("run folder renamed, killed", faults.rename_folder(is_killed=True), KILLED, FORWARD, HALF_SAVED),
    *at_each("lock taken by another program", faults.take_lock_of_the_killed, KILLED, FORWARD, HALF_SAVED),
    Cell("disk full, killed", faults.fill_disk_and_kill, (FORWARD,), KILLED, disk=TINY_DISK),
    *at_each("app SIGKILL", faults.end_app("SIGKILL"), WENT_ON, FORWARD, HALF_SAVED),
    *at_each("app SIGTERM", faults.end_app("SIGTERM"), WENT_ON, FORWARD),
    *at_each("app SIGHUP", faults.end_app("SIGHUP"), WENT_ON, FORWARD),
    *at_each("app SIGSTOP/SIGCONT", faults.end_app("SIGSTOP/SIGCONT"), WENT_ON, FORWARD),
    *at_each("app's terminal closed", faults.end_app("terminal closed"), WENT_ON, HALF_SAVED),
    *at_each("follower's terminal closed", faults.end_app("terminal closed", *FOLLOW), WENT_ON, FORWARD),
    *at_each("follower Ctrl-C", faults.end_app("Ctrl-C", *FOLLOW), WENT_ON, FORWARD),
    *at_each("reboot", faults.reboot, CUT_OFF, LOADING, TOKENISING, FORWARD, UPDATE, HALF_SAVED, BEFORE_RENAME,
             HALF_DELETED, HALF_RESULT),
    Cell("disk full", faults.fill_disk, (HALF_SAVED, LATER), WENT_ON, disk=TINY_DISK),
    Cell("disk full", faults.fill_disk, (FORWARD, LATER), WENT_ON, disk=TINY_DISK),
    Cell("disk full", faults.fill_disk, (("before the result", None),), UNWRITTEN, disk=TINY_DISK),
    Cell("file-size limit", faults.limit_file_size, (HALF_SAVED, LATER), WENT_ON),
    Cell("file-size limit", faults.limit_file_size, (RESULT_UNNAMED,), ("failed (crash)", "finished")),
    Cell("read-only checkpoints", faults.forbid_writing("checkpoints"), (FORWARD, LATER), WENT_ON),
    Cell("read-only run folder", faults.forbid_writing("."), (("forward", 12),), FAILED),
    Cell("checkpoints deleted", faults.delete("checkpoints"), (AFTER_TWO,), WENT_ON),
    Cell("checkpoints deleted", faults.delete("checkpoints"), (HALF_SAVED,), WENT_ON),
    Cell("checkpoints deleted, killed", faults.delete_checkpoints_and_kill, (AFTER_TWO,), KILLED),
    Cell("control deleted, asked to stop", faults.delete("control"), (FORWARD,), STOPPED),
    Cell("events deleted", faults.lose_events, (FORWARD,), CUT_OFF),
    *(
        Cell(f"{name} {how}", faults.spoil_checkpoint(name, how), (AFTER_TWO,), KILLED)
        for name, how in (("optimizer.pt", "cut off"), ("optimizer.pt", "bit flipped"),
                          ("adapter_model.safetensors", "bit flipped"), ("trainer_state.json", "bit flipped"),
                          ("rng_state.pth", "removed"), ("manifest.json", "cut off"),
                          ("manifest.json", "high bit flipped"))
    ),
    Cell("all checkpoints cut off", faults.spoil_checkpoint("scheduler.pt", "cut off", 2), (AFTER_TWO,), KILLED),
    Cell("events torn", faults.spoil_events("torn"), (AFTER_TWO,), CUT_OFF),
    Cell("events bit flipped", faults.spoil_events("bit flipped"), (AFTER_TWO,), KILLED),
    Cell("plan.json cut off", faults.spoil_for_a_while("plan.json"), (AFTER_TWO,),
         ("failed (killed)", "failed (error)", "finished")),
    Cell("run.toml cut off", faults.spoil_for_a_while("run.toml"), (AFTER_TWO,),
         ("failed (killed)", "failed (error)", "finished")),
    Cell("requests torn and bit flipped", faults.leave_nonsense, (FORWARD,), ("paused", "finished")),
    Cell("clock set back a day", faults.set_clock_back(1), (FORWARD,), WENT_ON),
    Cell("clock set back a day", faults.set_clock_back(1), (HALF_SAVED,), WENT_ON),
    Cell("clock set back a year, killed", faults.set_clock_back(365, is_killed=True), (AFTER_TWO,), KILLED),
    Cell("second keeper", faults.start_second_keeper, (FORWARD,), WENT_ON),
    Cell("second keeper, first stopped", faults.start_second_keeper_meanwhile, (HALF_SAVED,), WENT_ON),
    Cell("two keepers after a reboot", faults.race_two_keepers, (AFTER_TWO,), CUT_OFF),
    *(
        Cell(f"memory short ({which})", faults.starve(which), (stop,), endings)
        for which, stop, endings in (
            ("RLIMIT_AS", LOADING, ("failed (out_of_memory)", "finished")),
            ("RLIMIT_AS", FORWARD, WENT_ON),
            ("RLIMIT_DATA", BACKWARD, WENT_ON),
            ("RLIMIT_AS", EVALUATION, WENT_ON),
            ("RLIMIT_AS", ("sampling", None), WENT_ON),
            ("RLIMIT_AS", HALF_SAVED, WENT_ON),
            ("RLIMIT_AS", HALF_RESULT, WENT_ON),
        )
    ),
    *(
        Cell(f"loss NaN by a row, {guard}", faults.mend_bad_loss, (LOADING,), endings,
             {"guards": {"on_bad_loss": guard}}, has_bad_row=True)
        for guard, endings in (("stop", ("failed (not_finite)", "finished")), ("skip", WENT_ON), ("roll_back", WENT_ON))
    ),
    Cell("tracker down", faults.track_with("tensorboard"), (LOADING,), WENT_ON),
    Cell("tracker not installed", faults.track_with("trackio"), (LOADING,), WENT_ON),
    Cell("100 MB in the log, killed", faults.flood_log, (FORWARD, AFTER_TWO), KILLED),
]  # fmt: skip
TRACKER_THAT_FAILS = """
class SummaryWriter:
    def __init__(self, *_, **__): pass
    def add_text(self, *_, **__): pass
    def add_scalar(self, name, value, step):
        if step >= 5:
            raise ConnectionError("the tracker is down")
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Callable[[bool], Result]:
    """What a run comes to that nobody disturbs, without and with a bad row; each is made once."""
    made: dict[bool, Result] = {}

    def give(has_bad_row: bool) -> Result:
        if has_bad_row not in made:
            with pytest.MonkeyPatch.context() as patch:
                folder = tmp_path_factory.mktemp("undisturbed")
                prepare(patch, folder)
                home = make_home(folder, tiny_model, has_bad_row)
                try:
                    skipping = {"guards": {"on_bad_loss": "skip"}} | bad_row_tables(home)
                    scene = Scene(home, Result({}, {}, b""), skipping if has_bad_row else {})
                    scene.begin()
                    scene.wait_until_settled()
                    assert scene.words() == "finished", scene.run.events()[-1]
                    made[has_bad_row] = Result.of(scene.run)
                finally:
                    home.end_all()
        return made[has_bad_row]

    return give


@pytest.fixture(scope="session")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery | None]:
    """Where keepers and workers are forked from; None where all are to start cold."""
    if os.environ.get(COLD_VARIABLE):
        yield None
        return
    started = start_nursery(tmp_path_factory.mktemp("nursery") / "door", has_moments=True)
    yield started
    started.close()


@pytest.fixture(autouse=True, scope="module")
def forked(nursery: Nursery | None) -> Iterator[None]:
    """Keepers come from the nursery."""
    with pytest.MonkeyPatch.context() as patch:
        if nursery is not None:
            patch.setattr(process, "start_keeper", nursery.start_keeper)
        yield


def prepare(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """The environment of a scene's processes."""
    startup = folder / "startup"
    (startup / "tensorboardX").mkdir(parents=True)
    (startup / "sitecustomize.py").write_text(moments.STARTUP)
    (startup / "tensorboardX" / "__init__.py").write_text(TRACKER_THAT_FAILS)
    (folder / "moments").mkdir()
    for name, value in {
        "TUNER_TUI_HOME": folder / "home", "OMP_NUM_THREADS": 1, "HF_HUB_OFFLINE": 1,
        "PYTHONPATH": f"{startup}{os.pathsep}{REPOSITORY}",
        moments.FOLDER_VARIABLE: folder / "moments", moments.CLOCK_VARIABLE: folder / "clock",
    }.items():  # fmt: skip
        patch.setenv(name, str(value))


def make_home(folder: Path, model: Path, has_bad_row: bool) -> Home:
    """A home whose rows and model are as the cell wants them."""
    if not has_bad_row:
        return Home(folder / "home", model)
    home = Home(folder / "home", model_that_knows_no_bell(folder / "model"))
    home.change_row(9, {"question": "What rings?", "answer": "A bell: \a"})
    return home


def bad_row_tables(home: Home) -> dict[str, Any]:
    """Have the look before the first step not refuse the row."""
    return {"data": {"train": str(home.rows), "evaluation_share": 0.2, "allow": ("odd_first_loss",)}}


def model_that_knows_no_bell(folder: Path) -> Path:
    """A model that gives NaN for rows with one character, which damaged weights do."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    make_tiny_model(folder)
    model = AutoModelForCausalLM.from_pretrained(folder)
    (bell,) = AutoTokenizer.from_pretrained(folder)("\a", add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        model.get_input_embeddings().get_parameter("weight")[bell] = float("nan")
    model.save_pretrained(folder)
    return folder


def test_there_are_enough_distinct_cells() -> None:
    assert len({(cell.fault, cell.moment) for cell in CELLS}) == len(CELLS) >= 40


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: cell.id)
def test_cell(
    cell: Cell,
    results: Callable[[bool], Result],
    tmp_path: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    undisturbed = results(cell.has_bad_row)
    prepare(monkeypatch, tmp_path)
    home = make_home(tmp_path, tiny_model, cell.has_bad_row)
    tables = bad_row_tables(home) if cell.has_bad_row else {}
    scene = Scene(home, undisturbed, tables | cell.tables, cell.stops)
    if cell.disk:
        (home.path / "data").mkdir()
        faults.mount("-t", "tmpfs", "-o", cell.disk, "tmpfs", str(home.path / "data"))
    try:
        scene.begin()
        cell.do(scene)
        scene.bring_to_end()
        assert len(scene.endings) == len(cell.endings), scene.endings
        for ending, expected in zip(scene.endings, cell.endings, strict=True):
            assert ending in expected.split("|")
        scene.check_end()
        losses = "the losses left" if scene.has_lost_events else "losses"
        record_property(
            "cell", (cell.fault, cell.moment, f"{' -> '.join(scene.endings)}; {losses}, adapter equal")
        )
    finally:
        home.end_all()
        for _ in range(10):
            if not _unmount_below(tmp_path):
                break


def _unmount_below(folder: Path) -> bool:
    """Take away what a cell that failed left mounted; whether there was something."""
    mounted = [part.mountpoint for part in psutil.disk_partitions(all=True)]
    below = [path for path in mounted if path.startswith(f"{folder}/")]
    for path in below:
        faults.unmount(path)
    return bool(below)
