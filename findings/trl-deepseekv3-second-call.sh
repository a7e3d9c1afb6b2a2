#!/bin/sh
# trl 1.16.0 with transformers 5.23.0: its DeepSeek-V3 chat templates lose parts of every tool-calling turn but the first.
#
# Expected: in a conversation where the assistant calls a tool twice, one call after the other's result, both turns are
# written alike: assistant marker, what the turn says, begin of the calls, the call.
# Seen: the flag that marks the first call is set once in a conversation and never reset. The second calling turn is
# written without the assistant marker, without the begin of its calls, and without its content. The training variant,
# which TRL puts in the place of the original for assistant masks, does the same. Multi-step tool use is trained on turns
# that have no beginning, without a warning.
# Way round: look for each part of a row in what the template writes, before training on it.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q transformers==5.23.0 jinja2==3.1.6
"$work/venv/bin/pip" install -q --no-deps trl==1.16.0
cd "$work"
HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1 venv/bin/python - <<'PY'
import importlib.metadata
from pathlib import Path

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

tokenizer = PreTrainedTokenizerFast(
    tokenizer_object=Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>")), bos_token="<bos>"
)


def calling(content, city):
    function = {"name": "weather", "arguments": '{"city": "%s"}' % city}
    return {"role": "assistant", "content": content, "tool_calls": [{"type": "function", "function": function}]}


turns = [
    {"role": "user", "content": "Where is it warmer?"},
    calling("First Porto.", "Porto"),
    {"role": "tool", "content": "19"},
    calling("Then Lisbon.", "Lisbon"),
    {"role": "tool", "content": "22"},
    {"role": "assistant", "content": "Lisbon."},
]
folder = Path(str(importlib.metadata.distribution("trl").locate_file("trl/chat_templates")))
for name in ("deepseekv3", "deepseekv3_training"):
    template = (folder / f"{name}.jinja").read_text(encoding="utf-8")
    text = tokenizer.apply_chat_template(turns, chat_template=template, tokenize=False)
    counts = {
        "calls": text.count("tool▁call▁begin"),
        "begins of calls": text.count("tool▁calls▁begin"),
        "content of the first": text.count("First Porto."),
        "content of the second": text.count("Then Lisbon."),
    }
    print(f"{name}: {counts}")
    assert counts == {
        "calls": 2, "begins of calls": 1, "content of the first": 1, "content of the second": 0,
    }, text
PY
