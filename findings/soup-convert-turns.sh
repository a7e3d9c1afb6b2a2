#!/bin/sh
# soup-cli 0.77.0: `soup data convert` drops turns and reports that all rows were converted.
#
# Expected: what a row says is converted, refused, or named as dropped.
# Seen: ShareGPT rows with a tool call lose the call and the tool's result on the way to Alpaca, so the answer follows from
# nothing; Alpaca's `history` (earlier turns, as LLaMA-Factory documents it) is lost on the way to ChatML. Each time the
# command says "Converted 1 rows" and nothing else.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q soup-cli==0.77.0
export HOME="$work" SOUP_NO_AUDIT_LOG=1
cd "$work"
cat > calls.jsonl <<'ROW'
{"conversations": [{"from": "human", "value": "Weather in Oslo?"}, {"from": "function_call", "value": "{\"name\": \"weather\", \"arguments\": {\"city\": \"Oslo\"}}"}, {"from": "observation", "value": "snow"}, {"from": "gpt", "value": "It snows."}]}
ROW
cat > history.jsonl <<'ROW'
{"instruction": "And now in French", "input": "", "output": "Bonjour", "history": [["Say hello in Spanish", "Hola"]]}
ROW
venv/bin/soup --no-telemetry data convert calls.jsonl --to alpaca -o calls-out.jsonl < /dev/null
cat calls-out.jsonl
venv/bin/soup --no-telemetry data convert history.jsonl --to chatml -o history-out.jsonl < /dev/null
cat history-out.jsonl
if grep -q -e weather -e snow\" calls-out.jsonl || grep -q -e Hola history-out.jsonl; then
    echo CHANGED
    exit 1
fi
grep -q "It snows" calls-out.jsonl
grep -q "Bonjour" history-out.jsonl
