"""Summaries of runs: kept when a run ends, read again only when something has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from tests.ui.recorded_runs import every_status, held, make_run, recorded_events, until_step
from tuner_tui.config.spec_file import read_spec
from tuner_tui.errors import RunProblem
from tuner_tui.runs import lock
from tuner_tui.runs.events import RunStarted, encode
from tuner_tui.runs.folder import RunFolder, list_runs
from tuner_tui.runs.journal import append_event
from tuner_tui.runs.queue import queued_names
from tuner_tui.runs.spec_facts import read_spec_facts
from tuner_tui.runs.status import read_run
from tuner_tui.runs.summary import SUMMARY_FILE, SummaryReader, write_summary
from tuner_tui.runs.trash import delete_run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    return tmp_path


def test_summaries_say_what_followers_say(home: Path) -> None:
    runs = every_status(home)
    with held(home, runs["running"]):
        reader, queued = SummaryReader(), queued_names()
        for folder in list_runs():
            for _ in range(2):
                summary = reader.read(folder, queued)
                follower = read_run(folder)
                assert summary.status == follower.status
                assert (summary.step, summary.total_steps) == (
                    follower.state.step,
                    follower.state.total_steps,
                )
        assert reader.read(runs["running"], queued).seconds_left is not None
        assert reader.read(runs["failed"], queued).failure == "The GPU ran out of memory"
        assert 0 < len(reader.read(runs["finished"], queued).loss_curve) <= 32


def test_a_kept_summary_is_used_while_the_events_are_the_same(home: Path) -> None:
    folder = make_run(home, "2026-11-20-a-0001", recorded_events())
    write_summary(folder)
    kept = msgspec.json.decode((folder.path / SUMMARY_FILE).read_bytes())
    kept["loss"] = 42.0
    (folder.path / SUMMARY_FILE).write_bytes(msgspec.json.encode(kept))
    assert SummaryReader().read(folder, set()).loss == 42.0
    assert SummaryReader().read(folder, {folder.name}).status == "queued"
    append_event(folder.events, RunStarted(protocol=1, is_resumed=True))
    summary = SummaryReader().read(folder, set())
    assert summary.loss != 42.0
    assert summary.status == "interrupted"


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b'{"status": "unheard-of"}', b"[]"])
def test_a_summary_that_cannot_be_read_is_as_good_as_none(home: Path, content: bytes) -> None:
    folder = make_run(home, "2026-11-20-a-0001", recorded_events())
    (folder.path / SUMMARY_FILE).write_bytes(content)
    assert SummaryReader().read(folder, set()).status == "finished"


def test_live_and_interrupted_runs_keep_none(home: Path) -> None:
    folder = make_run(home, "2026-11-20-a-0001", until_step(5))
    write_summary(folder)
    with held(home, folder):
        write_summary(folder)
    assert not (folder.path / SUMMARY_FILE).exists()


def test_an_interrupted_run_that_wakes_is_seen(home: Path) -> None:
    folder = make_run(home, "2026-11-20-a-0001", until_step(5))
    reader = SummaryReader()
    assert reader.read(folder, set()).status == "interrupted"
    with held(home, folder):
        assert reader.read(folder, set()).status == "running"
        folder.events.write_bytes(b"".join(map(encode, recorded_events())))
        assert reader.read(folder, set()).status == "finished"


def test_broken_folders_say_what_is_wrong(home: Path) -> None:
    folder = make_run(home, "2026-11-20-a-0001", recorded_events())
    folder.events.unlink()
    reader = SummaryReader()
    assert reader.read(folder, set()).problem == "half deleted: no events.jsonl"
    folder.events.mkdir()
    assert reader.read(folder, set()).problem
    assert not reader.read(folder, set()).can_resume
    assert reader.read(RunFolder(home / "nothing"), set()).problem


def test_deleting_refuses_what_lives(home: Path) -> None:
    runs = every_status(home)
    with held(home, runs["running"]):
        for name in ("running", "queued"):
            with pytest.raises(RunProblem):
                delete_run(runs[name])
            assert runs[name].path.is_dir()
    delete_run(runs["finished"])
    assert not runs["finished"].path.exists()
    assert [path.name for path in runs["finished"].path.parent.glob(".*")] == [".trash"]
    assert lock.acquire(runs["stopped"].lock) is not None


def test_defaults_of_method_and_tuning_are_the_specs(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[model]\nsource = "a/b"\n\n[data]\ntrain = "rows.jsonl"\n')
    spec = read_spec(path)
    assert read_spec_facts(path) == ("a/b", "rows.jsonl", spec.method.kind, spec.tuning.kind)
    for broken in ("[model", "model = 3", '[model]\nsource = ["x"]\n'):
        path.write_text(broken)
        assert read_spec_facts(path).model == ""
