"""The memory estimate against published measurements: `python -m tests.benchmarks.memory --rows CSV --configs JSON`.

Each row's settings become a workload under the libraries of its time. What was measured takes no part: the columns
peak_gib and smi_gib are read after the prediction, and may be empty.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.published_rows import NotJudged, Row, predict

COMPLETE_MEAN, COMPLETE_WORST, UNJUDGED_SHARE, RANGE_SHARE = 0.015, 0.05, 0.05, 0.90


def main(arguments: list[str] | None = None) -> int:
    """Print each row's prediction, truth and error, and a summary; 1 when a bound is missed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=Path, required=True, help="CSV with the columns of measured.csv")
    parser.add_argument("--configs", type=Path, required=True, help="JSON as model_configs.json")
    parser.add_argument("--json", action="store_true", help="the rows as JSON")
    options = parser.parse_args(arguments)
    with options.rows.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, restkey="more cells"))
    configs = json.loads(options.configs.read_text(encoding="utf-8"))
    if not isinstance(configs, dict):
        parser.error(f"{options.configs} is no JSON object of models")
    judged = [judge(row, configs) for row in rows]
    if options.json:
        json.dump(judged, sys.stdout, indent=1)
        print()
        return 0
    for row in judged:
        print(line(row))
    words, is_good = summary(judged)
    print(words)
    return 0 if is_good else 1


def judge(row: dict[str, str], configs: dict[str, Any]) -> dict[str, Any]:
    """The row with `predicted_gib`, `error` and the ranges; `reason` where it cannot be judged."""
    result: dict[str, Any] = {
        **row, "predicted_gib": None, "error": None, "low_gib": None, "high_gib": None, "in_range": None,
        "smi_low_gib": None, "smi_high_gib": None, "smi_in_range": None, "is_known": None, "reason": None,
    }  # fmt: skip
    blind = {
        name: text
        for name, text in row.items()
        if isinstance(name, str) and isinstance(text, str) and name not in ("peak_gib", "smi_gib")
    }
    try:
        prediction = predict(Row(blind), configs)
    except NotJudged as reason:
        return result | {"reason": str(reason)}
    except (
        ValueError,
        TypeError,
        AttributeError,
        ArithmeticError,
    ) as error:  # cells or configs of another kind
        return result | {"reason": f"settings that cannot be read: {error}"}
    result |= {
        "predicted_gib": round(prediction.value, 4),
        "low_gib": round(prediction.low, 4), "high_gib": round(prediction.high, 4),
        "smi_low_gib": round(prediction.driver_low, 4), "smi_high_gib": round(prediction.driver_high, 4),
        "is_known": prediction.is_known,
    }  # fmt: skip
    truth, driver = number(row.get("peak_gib")), number(row.get("smi_gib"))
    if truth:
        result["error"] = round(prediction.value / truth - 1, 5)
        result["in_range"] = prediction.low <= truth <= prediction.high
    else:
        result["reason"] = "no measurement in the row"
    if driver is not None:
        result["smi_in_range"] = prediction.driver_low <= driver <= prediction.driver_high
    return result


def number(text: str | None) -> float | None:
    """A cell's number; None for an empty one, and for words."""
    try:
        value = float(text) if text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value > 0 else None


def line(row: dict[str, Any]) -> str:
    """One row for people."""
    name = row.get("id") or "a row without a name"
    if row["predicted_gib"] is None:
        return f"{name:<44} not judged: {row['reason']}"
    words = f"{name:<44} predicted {row['predicted_gib']:8.3f}"
    if row["error"] is not None:
        words += f"  measured {float(row['peak_gib']):8.3f}  {100 * row['error']:+6.2f} %"
    if not _is_exact(row):
        words += f"  range {row['low_gib']:.1f} to {row['high_gib']:.1f}{_outside(row['in_range'])}"
    if row["smi_in_range"] is not None:
        words += (
            f"  driver {float(row['smi_gib']):.1f} in {row['smi_low_gib']:.1f} to {row['smi_high_gib']:.1f}"
            f"{_outside(row['smi_in_range'])}"
        )
    return words


def summary(rows: list[dict[str, Any]]) -> tuple[str, bool]:
    """The figures that the bounds are about, and whether they hold."""
    complete = [row for row in rows if row.get("complete") == "y" and _is_exact(row)]
    errors = [abs(row["error"]) for row in complete if row["error"] is not None]
    ranges = [row["in_range"] for row in rows if not _is_exact(row) and row["in_range"] is not None]
    ranges += [row["smi_in_range"] for row in rows if row["smi_in_range"] is not None]
    unjudged = sum(row["predicted_gib"] is None for row in complete)
    others = sum(row["predicted_gib"] is None for row in rows) - unjudged
    mean = sum(errors) / len(errors) if errors else 0.0
    share = sum(ranges) / len(ranges) if ranges else 1.0
    words = (
        f"\ncomplete allocated rows: {len(errors)} judged, {unjudged} not; mean error {100 * mean:.2f} %, "
        f"worst {100 * max(errors, default=0):.2f} %\n"
        f"reserved and driver figures: {sum(ranges)} of {len(ranges)} in range ({100 * share:.1f} %)\n"
        f"other rows that cannot be judged: {others}"
    )
    is_good = (
        mean <= COMPLETE_MEAN
        and max(errors, default=0) <= COMPLETE_WORST
        and unjudged <= UNJUDGED_SHARE * max(len(complete), 1)
        and share >= RANGE_SHARE
    )
    return words, is_good


def _is_exact(row: dict[str, Any]) -> bool:
    """Whether the estimate gives a figure, and not only a range."""
    return row.get("metric") == "max_allocated" and row["is_known"] is not False


def _outside(is_inside: bool | None) -> str:
    return " OUTSIDE" if is_inside is False else ""


if __name__ == "__main__":
    sys.exit(main())
