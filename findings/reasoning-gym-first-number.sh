#!/bin/sh
# reasoning-gym 0.1.25: `gsm_symbolic` scores the first number of an answer and loses its sign.
#
# Expected: a worked solution that ends in the right number scores 1.0, and "-N" is not N.
# Seen: the first number in the text is compared. A worked solution scores 0.01 (as a wrong answer does), the bare number
# with a wrong continuation scores 1.0, and a minus sign at the start of the text is not read. Rewarded so, a policy learns
# to answer without reasoning.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q reasoning-gym==0.1.25
"$work/venv/bin/python" - <<'PY'
import reasoning_gym

items = reasoning_gym.create_dataset("gsm_symbolic", size=30, seed=7)
item = items[0]
right = item["answer"]
seen = {
    right: items.score_answer(right, item),
    f"First 3 and 4 make 7, so the answer is {right}": None,
    f"{right} is wrong, the answer is 99999": None,
    f"-{right}": None,
}
for text in seen:
    seen[text] = items.score_answer(text, item)
    print(f"{text!r}: {seen[text]}")
assert list(seen.values()) == [1.0, 0.01, 1.0, 1.0], "CHANGED"
PY
