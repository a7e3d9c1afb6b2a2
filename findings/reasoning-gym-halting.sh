#!/bin/sh
# reasoning-gym 0.1.25: `game_of_life_halting` gives full marks to every answer that is not empty.
#
# Expected: "True" scores 1 where the item's answer is "True", and 0 where it is "False".
# Seen: the scorer compares bool(answer) with bool(the item's answer), and both are strings: bool("False") is True. So
# "True", "False" and "no idea" all score 1.0 on every item. A model trained on this reward learns nothing, at a reward
# of 1.0 from the first step.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q reasoning-gym==0.1.25
"$work/venv/bin/python" - <<'PY'
import reasoning_gym

items = reasoning_gym.create_dataset("game_of_life_halting", size=20, seed=7)
answers = sorted({item["answer"] for item in items})
assert answers == ["False", "True"], answers
for guess in ("True", "False", "no idea"):
    scores = [items.score_answer(guess, item) for item in items]
    print(f"{guess!r}: mean score {sum(scores) / len(scores)} over {len(scores)} items of both kinds")
    assert scores == [1.0] * 20, "CHANGED"
PY
