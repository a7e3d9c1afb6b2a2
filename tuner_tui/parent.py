"""A process that does not outlive the one that waits for it."""

from __future__ import annotations

import os
import threading
import time

LOOK_SECONDS = 1.0


def leave_with_parent(parent: int | None = None) -> None:
    """End this process when the one that started it has gone, so that nothing is done that nobody waits for.

    `parent` is its process id, where it may be gone before we ask.
    """
    parent = parent or os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
