#!/bin/sh
# soup-cli 0.77.0: `soup migrate --from axolotl` names the top-level keys that it could not take, not those of a data set.
#
# Expected: its warning "N axolotl key(s) not migrated" lists all that is lost.
# Seen: `field_messages`, `roles_to_train` and `message_property_mappings` of an entry under `datasets` are dropped and not
# named: the new configuration reads another column and trains on other turns than the old one.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q soup-cli==0.77.0
export HOME="$work" SOUP_NO_AUDIT_LOG=1 COLUMNS=200
cd "$work"
cat > axolotl.yml <<'YML'
base_model: HuggingFaceTB/SmolLM2-135M-Instruct
adapter: lora
lora_r: 16
lora_alpha: 32
datasets:
  - path: data.jsonl
    type: chat_template
    field_messages: dialogue
    message_property_mappings: {role: speaker, content: said}
    roles_to_train: [assistant, critic]
sequence_len: 512
micro_batch_size: 2
num_epochs: 1
learning_rate: 0.0002
weight_decay: 0.01
YML
venv/bin/soup --no-telemetry migrate --from axolotl axolotl.yml -o soup.yaml --yes < /dev/null > out.txt 2>&1
cat out.txt soup.yaml
grep -q weight_decay out.txt
if grep -q -e field_messages -e roles_to_train -e message_property -e dialogue -e critic out.txt soup.yaml; then
    echo CHANGED
    exit 1
fi
