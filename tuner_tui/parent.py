"""Ends a process together with its parent."""

from __future__ import annotations

import os
import threading
import time

LOOK_SECONDS = 1.0


def leave_with_parent(parent: int | None = None) -> None:
    """End this process when its parent has exited, so that it does no useless work.

    `parent` is the parent's process ID, for a parent that may exit before this is called.
    """
    parent = parent or os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
