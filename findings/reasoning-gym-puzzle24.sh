#!/bin/sh
# reasoning-gym 0.1.25: in `puzzle24` one memorised expression scores 1.0 on every item.
#
# Expected: the answer must use the four numbers of its own item, as the question asks.
# Seen: the scorer counts four numbers between the configured bounds and looks at the value; the numbers of the item are
# not compared. It also cuts the value to an integer, so 24.5 counts as 24. With reinforcement learning the policy
# collapses to one constant answer at full reward.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q reasoning-gym==0.1.25
"$work/venv/bin/python" - <<'PY'
import reasoning_gym

items = reasoning_gym.create_dataset("puzzle24", size=50, seed=1)
constant = "10*(8 - 5) - 6"
others = [item for item in items if sorted(item["metadata"]["numbers"]) != [5, 6, 8, 10]]
scores = [items.score_answer(constant, item) for item in others]
print(f"{constant!r} on {len(others)} items with other numbers: mean score {sum(scores) / len(scores)}")
assert len(others) >= 45 and scores == [1.0] * len(others), "CHANGED"
fraction = "10 + 10 + 4 + 1/2"  # 24.5, with five numbers: refused for their count
assert items.score_answer(fraction, items[0]) == 0.01
fraction = "(9*8 + 2)/3"  # 24.67
print(f"{fraction!r} (24.67): {items.score_answer(fraction, items[0])}")
assert items.score_answer(fraction, items[0]) == 1.0, "CHANGED"
PY
