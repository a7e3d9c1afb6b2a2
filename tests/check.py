"""`python -m tests.check`: format, lint, strict types, import contracts and tests, in one command."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
"""Each of pytest's processes has a core; more threads would only wait for each other."""
CHECKS = {
    "format": [str(BIN / "ruff"), "format", "--check", "."],
    "lint": [str(BIN / "ruff"), "check", "."],
    "types": [str(BIN / "mypy")],
    "imports": [str(BIN / "lint-imports")],
    "import circles": [sys.executable, "-m", "tests.circles"],
    "tests": [sys.executable, "-m", "pytest", "-q", "-n", "auto"],
}


def main() -> int:
    """Run all checks, also after one failed; 0 when all passed. Further arguments go to pytest."""
    failed = []
    for name, command in CHECKS.items():
        more = sys.argv[1:] if name == "tests" else []
        print(f"--- {name}: {' '.join(command[1:] + more)}", flush=True)
        started = time.monotonic()
        if subprocess.run([*command, *more], cwd=ROOT, env=ONE_THREAD | os.environ, check=False).returncode:
            failed.append(name)
        print(f"--- {name}: {time.monotonic() - started:.0f} s", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
