"""`python -m tuner_tui.worker JOB ...`: one process with torch that does one job and leaves."""

from __future__ import annotations

import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Run the job named by the first argument: train, inspect or compare."""
    match arguments:
        case ["train", folder, *options]:
            from tuner_tui.worker import train

            return train.main(Path(folder), is_resumed="--resume" in options)
        case ["inspect"]:
            from tuner_tui.worker import inspect

            return inspect.main()
        case ["compare", request]:
            from tuner_tui.worker import compare

            return compare.main(Path(request))
    sys.stderr.write(
        "usage: python -m tuner_tui.worker train FOLDER [--resume] | inspect | compare REQUEST\n"
    )
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
