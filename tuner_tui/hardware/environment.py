"""The environment of a process with torch."""

from __future__ import annotations

import os

from tuner_tui.hosts import NO_TOKEN_VARIABLE, insecure_hub

MALLOC_THRESHOLD_BYTES = 4 << 20
"""Blocks of at least this size are returned to the system when freed.

Measured by tests/benchmarks/threads.py on two cores: 256 KiB lowers peak memory by 22 % and makes CPU steps 1.66 times
as long, since each block is then mapped again; 4 MiB lowers it by 4 % and costs 1.1 times.
"""


def worker_environment(threads: int) -> dict[str, str]:
    """This process's environment plus the variables that a process with torch needs.

    Waiting threads sleep (two busy-waiting pools on two cores slow each other several times), freed memory is
    returned to the system, libraries send no usage statistics, output is not buffered, Python processes that libraries
    start import nothing from their current folder either, and no token is sent to a Hub over plain http.
    """
    settings = {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "0",
        "KMP_BLOCKTIME": "0",
        "MALLOC_MMAP_THRESHOLD_": str(MALLOC_THRESHOLD_BYTES),
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "DO_NOT_TRACK": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TQDM_DISABLE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
        "PYTHONFAULTHANDLER": "1",
    }
    if insecure_hub():
        settings[NO_TOKEN_VARIABLE] = "1"
    return {"PYTORCH_ALLOC_CONF": "expandable_segments:True"} | os.environ | settings
