"""The environment of a process with torch."""

from __future__ import annotations

import os


def worker_environment(threads: int) -> dict[str, str]:
    """Our environment with what a process with torch needs set.

    Waiting threads sleep (two busy-waiting pools on two cores slow each other several times), freed memory goes back
    to the system, libraries send no usage statistics, and output is not held back.
    """
    settings = {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "KMP_BLOCKTIME": "0",
        "MALLOC_MMAP_THRESHOLD_": "262144",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TQDM_DISABLE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONFAULTHANDLER": "1",
    }
    return {"PYTORCH_ALLOC_CONF": "expandable_segments:True"} | os.environ | settings
