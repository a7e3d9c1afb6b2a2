#!/bin/sh
# soup-cli 0.77.0: `soup data dedup` removes rows that ask different questions and have different answers.
#
# Expected: rows whose answers differ are not duplicates of each other.
# Seen: word sets of question and answer are compared at a similarity of 0.8, so 40 word problems that differ in one number
# and in their answer become 14, and the 26 others are reported as duplicates. Sets of arithmetic, code or table rows lose
# most of what they teach.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q soup-cli==0.77.0 datasketch==1.6.5
export HOME="$work" SOUP_NO_AUDIT_LOG=1
cd "$work"
python3 - <<'PY'
import json

question = (
    "A shop sells pencils in boxes of twelve for three dollars each and Sara buys {} boxes for her class at school. "
    "How many dollars does she pay in total for all of the boxes?"
)
with open("rows.jsonl", "w") as file:
    for count in range(1, 41):
        print(json.dumps({"instruction": question.format(count), "output": str(3 * count)}), file=file)
PY
venv/bin/soup --no-telemetry data dedup rows.jsonl -o left.jsonl < /dev/null
left=$(wc -l < left.jsonl)
echo "$left of 40 rows are left"
[ "$left" -lt 20 ] || { echo CHANGED; exit 1; }
