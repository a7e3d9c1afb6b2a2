"""The keeper: one per data folder; adopts live runs, works through the queue, and leaves when nothing is left."""

from __future__ import annotations

import signal
import sys
import traceback
from pathlib import Path

from tuner_tui.keeper import keep
from tuner_tui.keeper.start import keeper_lock
from tuner_tui.runs import lock, queue
from tuner_tui.runs.folder import RunFolder, list_runs


def main() -> int:
    """Keep until the queue is empty. A second keeper leaves at once."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        held = lock.acquire(keeper_lock(), patience_seconds=0.1)
        if held is None:
            return 0
        _adopt_live_runs()
        while _keep_next():
            _adopt_live_runs()  # whatever went wrong with the last run: one at a time holds the card
        held.release()
        if not queue.entries():  # looked at after letting go, so that no run is enqueued unseen
            return 0


def _adopt_live_runs() -> None:
    """Wait for runs whose keeper died."""
    for folder in list_runs():
        if lock.is_held(folder.lock):
            keep.adopt_and_keep(folder)


def _keep_next() -> bool:
    """Take the next run off the queue and keep it to its end; False when nobody waits."""
    for path, entry in queue.entries():
        folder = RunFolder(Path(entry.folder))
        try:
            held = lock.acquire(folder.lock, patience_seconds=1.0)
        except OSError:  # the run's folder was deleted while it waited
            path.unlink(missing_ok=True)
            continue
        if held is None:  # a keeper died before it took the entry of the run it had started
            path.unlink(missing_ok=True)
            keep.adopt_and_keep(folder)
            return True
        claimed = queue.claim(path)
        try:
            if claimed is not None:  # else it was withdrawn
                _keep(claimed, folder, held, is_resumed=entry.resume)
        except Exception:  # one run's trouble must not keep the others waiting
            traceback.print_exc()
        finally:
            held.release()
        return True
    return False


def _keep(entry: Path, folder: RunFolder, held: lock.FileLock, *, is_resumed: bool) -> None:
    """Start a run and keep it; its queue entry goes when the worker holds the lock, so that it is never in neither."""
    try:
        worker = keep.start(folder, held, is_resumed=is_resumed)
    finally:
        entry.unlink(missing_ok=True)
    if worker is not None:
        keep.keep(folder, worker)


if __name__ == "__main__":
    sys.exit(main())
