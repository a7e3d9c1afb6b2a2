#!/bin/sh
# math-verify 0.9.0: `verify(parse(gold), parse(answer))` accepts some plain numbers that are not equal.
#
# Expected: 1e5 is 100000, "- 3" is -3, "1 million" is not 1.
# Seen, without LaTeX marks round the number: scientific notation is read up to its "e" (1e5 equals 1, and does not equal
# 100000), a minus sign with a space after it is dropped, words that multiply are dropped. A gold answer in a data set
# written "1e5" so rewards the answer 1. Percentages equal both readings: "10%" is accepted for 10 and for 0.1.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q math-verify==0.9.0 latex2sympy2_extended==1.11.0
"$work/venv/bin/python" - <<'PY'
from math_verify import parse, verify

expected = {
    ("1", "1e5"): True,
    ("100000", "1e5"): False,
    ("1e5", "100000"): False,
    ("3", "- 3"): True,
    ("-3", "- 3"): False,
    ("1", "1 million"): True,
    ("10", "10%"): True,
    ("0.1", "10%"): True,
}
for (gold, answer), verdict in expected.items():
    now = verify(parse(gold), parse(answer))
    print(f"gold {gold!r}, answer {answer!r}: {now}")
    assert now is verdict, "CHANGED"
PY
