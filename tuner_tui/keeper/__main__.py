"""The keeper process: one per data folder; a second one exits at once."""

from __future__ import annotations

import signal
import sys

from tuner_tui.keeper.log import say, tolerate_output
from tuner_tui.keeper.loop import Keeper
from tuner_tui.keeper.pulse import Pulse, Replaced
from tuner_tui.keeper.start import keeper_lock
from tuner_tui.keeper.waiting import has_work
from tuner_tui.runs import lock


def main() -> int:
    """Run until the queue is empty or another keeper has taken over."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        own_lock = lock.acquire(keeper_lock(), patience_seconds=0.1)
        if own_lock is None:
            return 0
        pulse = Pulse(own_lock, keeper_lock())
        try:
            Keeper(pulse).run()
        except Replaced:
            say("Another keeper has taken over.")
            return 0
        finally:
            pulse.close()
            own_lock.release()
        if not has_work():  # checked after releasing the lock, so that no new queue entry is missed
            return 0


if __name__ == "__main__":
    tolerate_output()
    sys.exit(main())
