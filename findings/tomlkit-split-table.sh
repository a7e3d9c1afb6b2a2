#!/bin/sh
# tomlkit 0.15.2: editing a table whose parts stand apart in the file can write TOML that nobody can read.
#
# Expected: what `tomlkit.dumps` writes after assignments to a parsed document parses again.
# Seen: with `[a.b]` before and `[a]` after another table (valid TOML), assigning tables to two keys of `document["a"]`,
# taken once, and then a number to the first of them keeps both values in the text; tomllib refuses it ("Cannot overwrite a value").
# Way round: parse the written text before it replaces the file.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q tomlkit==0.15.2
"$work/venv/bin/python" - <<'PY'
import tomllib

import tomlkit

text = "[a.b]\nx = 1\n[c]\ny = 1\n[a]\nz = 1\n"
tomllib.loads(text)
document = tomlkit.parse(text)
table = document["a"]
table["first"] = {"q": 1}
table["second"] = {"q": 1}
table["first"] = 1
written = tomlkit.dumps(document)
print(written)
try:
    tomllib.loads(written)
except tomllib.TOMLDecodeError as error:
    print("not TOML any more:", error)
else:
    raise SystemExit("CHANGED")
PY
