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
        for folder in _live_runs():
            keep.adopt_and_keep(folder)
        while _keep_next():
            pass
        held.release()
        if not queue.entries():  # looked at after letting go, so that no run is enqueued unseen
            return 0


def _live_runs() -> list[RunFolder]:
    return [folder for folder in list_runs() if lock.is_held(folder.lock)]


def _keep_next() -> bool:
    """Take the next run off the queue and keep it to its end; False when nobody waits."""
    for path, entry in queue.entries():
        folder = RunFolder(Path(entry.folder))
        try:
            held = lock.acquire(folder.lock, patience_seconds=1.0)
        except OSError:  # the run's folder was deleted while it waited
            path.unlink(missing_ok=True)
            continue
        if held is None:  # started by another keeper that died: wait for it
            path.unlink(missing_ok=True)
            keep.adopt_and_keep(folder)
            return True
        path.unlink(missing_ok=True)
        try:
            keep.start_and_keep(folder, held, is_resumed=entry.resume)
        except Exception:  # one run's trouble must not keep the others waiting
            traceback.print_exc()
        finally:
            held.release()
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
