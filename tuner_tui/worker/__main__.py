"""`python -m tuner_tui.worker JOB ...`: runs one job in a process that loads torch, then exits."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import NoReturn


def main(arguments: list[str]) -> int:
    """Run the job named by the first argument: train, inspect, compare, export or generate."""
    match arguments:
        case ["train", folder, *options]:
            from tuner_tui.worker import train

            _leave(train.main(Path(folder), is_resumed="--resume" in options))
        case ["inspect"]:
            from tuner_tui.worker.device import inspect

            return inspect.main()
        case ["preview"]:
            from tuner_tui.worker.unneeded import leave_out_bitsandbytes

            leave_out_bitsandbytes()  # tokens alone are looked at, and no model is loaded
            from tuner_tui.worker.text import preview

            _leave(preview.main())
        case ["compare", request]:
            from tuner_tui.worker import compare

            return compare.main(Path(request))
        case ["export" | "check" | "compare-bases" as work, request]:
            from tuner_tui.worker.export import job

            _leave(job.main(work, Path(request)))
        case ["generate", descriptor, idle_seconds]:
            from tuner_tui.worker.generate import server

            _leave(server.main(int(descriptor), float(idle_seconds)))
    sys.stderr.write(
        "usage: python -m tuner_tui.worker train FOLDER [--resume] | inspect | preview | compare REQUEST\n"
        "       | export REQUEST | check REQUEST | compare-bases REQUEST | generate DESCRIPTOR IDLE_SECONDS\n"
    )
    return 2


def _leave(exit_code: int) -> NoReturn:
    """Exit at once: everything is written, and torch's shutdown would keep the lock and the GPU for seconds more."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
