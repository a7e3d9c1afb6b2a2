"""The benchmark of the memory estimate over a few published rows: its form, its honesty, its bounds."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.memory import RANGE_SHARE, judge, main, summary

DATA = Path(__file__).parents[1] / "data"
ROWS, CONFIGS = DATA / "vram_measured.csv", DATA / "vram_configs.json"
ALL_ROWS, ALL_CONFIGS = DATA / "vram_whole.csv.gz", DATA / "vram_whole_configs.json.gz"
"""Every published row, and the models that they are of."""


def text_of(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()


def read(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text_of(path), newline="")))


def judged(rows: list[dict[str, str]], configs: Path = CONFIGS) -> list[dict[str, Any]]:
    known = json.loads(text_of(configs))
    return [judge(row, known) for row in rows]


def test_rows_come_back_in_order_with_prediction_and_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rows", str(ROWS), "--configs", str(CONFIGS), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in found] == [row["id"] for row in read(ROWS)]
    row = next(row for row in found if row["id"] == "fms-main-010")
    assert row["error"] == pytest.approx(row["predicted_gib"] / 36.082 - 1, abs=1e-4)
    for row in found:
        assert (row["error"] is None) == (row["reason"] is not None)


def test_bounds_hold_on_the_kept_rows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--rows", str(ROWS), "--configs", str(CONFIGS)]) == 0
    assert "mean error 0." in capsys.readouterr().out


def test_the_truth_takes_no_part() -> None:
    rows = read(ROWS)
    blind = [row | {"peak_gib": "", "smi_gib": ""} for row in rows]
    wild = [row | {"peak_gib": "999", "smi_gib": "999"} for row in rows]
    predicted = [row["predicted_gib"] for row in judged(rows)]
    assert [row["predicted_gib"] for row in judged(blind)] == predicted
    assert [row["predicted_gib"] for row in judged(wild)] == predicted
    assert all(row["error"] is None and row["reason"] for row in judged(blind))


def test_what_cannot_be_judged_says_why() -> None:
    by_id = {row["id"]: row for row in judged(read(ROWS))}
    assert "not modelled" in by_id["litgpt23-adapter-01"]["reason"]
    assert by_id["peft-readme-t0-full"]["predicted_gib"] is None
    unknown = read(ROWS)[0] | {"model_hf_id": "nobody/nothing"}
    [row] = judged([unknown])
    assert "no architecture numbers" in row["reason"]


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        ({"quant": "mxfp4"}, "precision mxfp4 is not known"),
        ({"dtype": "fp8"}, "type fp8 is not known"),
        ({"optimizer": "lion"}, "optimizer lion"),
        ({"method": "lora GRPO"}, "answers of unknown length"),
        ({"batch_size": "4-8"}, "not published"),
        ({"seq_len": "0"}, "not published"),
        ({"seq_len": "99999999999"}, "absurd"),
        ({"model_hf_id": ""}, "unnamed model"),
    ],
)
def test_words_that_nobody_taught_it_give_a_reason(cells: dict[str, str], words: str) -> None:
    [row] = judged([read(ROWS)[0] | cells])
    assert row["predicted_gib"] is None and words in row["reason"]


def test_rows_of_another_form_are_no_crash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = [{"id": "a", "model_hf_id": read(ROWS)[0]["model_hf_id"]}, {"peak_gib": "n/a"}]
    found = judged(few)
    assert all(row["predicted_gib"] is None and row["reason"] for row in found)
    assert summary(found)[0]
    whole = read(ROWS)[0]
    [odd] = judged([whole | {"rank": "64.0", "peak_gib": "n/a", "smi_gib": "-"}])
    assert odd["predicted_gib"] and odd["error"] is None and odd["reason"]
    configs = json.loads(CONFIGS.read_text())
    for value in ("4096", None, -1, 10**12):
        broken = {
            name: dict(each, hidden_size=value) for name, each in configs.items() if isinstance(each, dict)
        }
        assert judge(whole, broken)["reason"]
    (tmp_path / "few.csv").write_text("id,model_hf_id\nx,y,more,cells\n")
    main(["--rows", str(tmp_path / "few.csv"), "--configs", str(CONFIGS)])
    assert "not judged" in capsys.readouterr().out


def test_a_model_is_found_by_its_other_name() -> None:
    configs = json.loads(CONFIGS.read_text())
    row = next(each for each in read(ROWS) if each["model_hf_id"] in configs and each["complete"] == "y")
    named = judge(row, configs)["predicted_gib"]
    aliases = {"_aliases": {"me/my-copy": row["model_hf_id"]}}
    renamed = row | {"model_hf_id": "me/my-copy"}
    assert judge(renamed, configs | aliases)["predicted_gib"] == named
    assert "no architecture numbers" in judge(renamed, configs)["reason"]


def test_a_missed_bound_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [row | {"peak_gib": "10.0"} for row in read(ROWS)]
    path = tmp_path / "rows.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    assert main(["--rows", str(path), "--configs", str(CONFIGS)]) == 1


def test_the_whole_table() -> None:
    rows = read(ALL_ROWS)
    assert len(rows) == 285
    words, is_good = summary(judged(rows, ALL_CONFIGS))
    assert is_good, words


def test_the_ranges_hold_the_rows_of_every_stack() -> None:
    """Each stack's own share, so that many rows of one do not hide the misses of another."""
    in_range: dict[str, list[bool]] = {}
    for row in judged(read(ALL_ROWS), ALL_CONFIGS):
        is_a_range = row["metric"] != "max_allocated" or row["is_known"] is False
        for side in ("in_range", "smi_in_range"):
            if row[side] is not None and (is_a_range or side == "smi_in_range"):
                in_range.setdefault(row["source"].split()[0], []).append(row[side])
    assert {stack: len(rows) for stack, rows in in_range.items()} == {
        "Lightning-AI/litgpt": 6, "QwenLM/Qwen": 12, "foundation-model-stack/fms-acceleration": 61,
        "huggingface/peft": 57, "modelscope/ms-swift": 39, "unslothai/notebooks": 17,
    }  # fmt: skip
    shares = {stack: sum(rows) / len(rows) for stack, rows in in_range.items()}
    assert all(share >= RANGE_SHARE for share in shares.values()), shares
