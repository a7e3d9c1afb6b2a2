"""The model card: what was trained from what, with which settings, how well it does, and how to load it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tuner_tui.errors import InputError
from tuner_tui.files import last_lines
from tuner_tui.sharing.licences import base_licence, what_it_asks
from tuner_tui.sharing.scan import normalised, quotes, row_mark
from tuner_tui.text import count, duration, number, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner_tui.runs.events import Sampled
    from tuner_tui.runs.exports import Checked, Form
    from tuner_tui.sharing.run_facts import RunFacts
    from tuner_tui.sharing.scan import Row

SampleChoice = Literal["all", "unseen", "none"]
"""Which samples the card shows: `all` refuses those that repeat training rows, `unseen` leaves them out."""
MOST_SAMPLES = 6
LONGEST_SAMPLE = 400
LIBRARY: dict[Form, str] = {
    "adapter": "peft", "merged": "transformers", "gguf-adapter": "gguf", "gguf": "gguf", "ollama": "gguf",
}  # fmt: skip
RELATION: dict[Form, str] = {
    "adapter": "adapter", "merged": "finetune", "gguf-adapter": "adapter", "gguf": "quantized", "ollama": "quantized",
}  # fmt: skip


@dataclass(frozen=True)
class CardOptions:
    """What only the person can say or allow."""

    languages: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    """Names of data sets on the Hub that may be told; none are told unasked."""
    licence: str | None = None
    notes: str = ""
    samples: SampleChoice = "all"


@dataclass(frozen=True)
class Card:
    """A card's text, and what the person should know of it."""

    text: str
    licence: str | None
    remarks: tuple[str, ...] = field(default=())


def make_card(
    facts: RunFacts,
    form: Form,
    repo_id: str,
    checked: Checked | None,
    rows: Sequence[Row],
    options: CardOptions,
) -> Card:
    """Write the card.

    Raises InputError when the base has no name on the Hub (a local path means nothing elsewhere), and when a sample
    repeats a training row and `options.samples` is "all".
    """
    if facts.base_name is None:
        raise InputError(
            "The base has no name on the Hub",
            f"{facts.plan.model_name} is a model of this machine, and a card must name a base that others can load.",
            "Name the model that it is a copy of: --base OWNER/NAME",
        )
    licence = options.licence or base_licence(facts)
    samples, left_out = _samples(facts, checked, rows, options.samples)
    remarks = []
    if left_out:
        what = "1 sample is" if left_out == 1 else f"{left_out} samples are"
        remarks.append(f"{what} left out of the card: a training row is repeated there.")
    if licence is None:
        remarks.append("The base's licence is not known here; the card says so. Name it with --licence.")
    parts = [
        _front_matter(facts, form, licence, options),
        f"# {repo_id.partition('/')[2]}\n",
        _opening(facts, form),
        _usage(facts, form, repo_id),
        _training(facts, options),
        _evaluation(facts, checked),
        samples,
        _limits(facts, licence),
    ]
    return Card("\n".join(part for part in parts if part), licence, tuple(remarks))


def _front_matter(facts: RunFacts, form: Form, licence: str | None, options: CardOptions) -> str:
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        base_model=facts.base_name,
        base_model_relation=RELATION[form],
        library_name=LIBRARY[form],
        pipeline_tag="text-generation",
        license=licence,
        language=list(options.languages) or None,
        datasets=list(options.datasets) or None,
        tags=["tuner-tui", facts.spec.method.kind, facts.spec.tuning.kind],
    )
    return f"---\n{data.to_yaml()}\n---\n"


def _opening(facts: RunFacts, form: Form) -> str:
    kinds = {
        "adapter": "A LoRA adapter for",
        "merged": "A whole model, made from",
        "gguf-adapter": "A LoRA adapter in GGUF form for",
        "gguf": "A whole model in GGUF form, made from",
        "ollama": "A whole model in GGUF form with a Modelfile for Ollama, made from",
    }
    text = f"{kinds[form]} [{facts.base_name}](https://huggingface.co/{facts.base_name})"
    if facts.is_from_gguf:
        text += (
            f". It was trained on that model as the GGUF file {plain(facts.plan.model_name)} holds it, "
            "dequantised; on the original weights it may behave a little differently"
        )
    elif facts.is_quantised:
        text += (
            f". It was trained on that model held in {facts.precision} by bitsandbytes; "
            "on unquantised weights it may behave differently"
        )
    return text + ".\n"


def _usage(facts: RunFacts, form: Form, repo_id: str) -> str:
    if facts.gives_scores:
        code = _REWARD_CODE.format(base=facts.base_name, repo=repo_id)
    elif form == "adapter":
        code = _CODE.format(package="peft", kind="AutoPeftModelForCausalLM", repo=repo_id)
    elif form == "merged":
        code = _CODE.format(package="transformers", kind="AutoModelForCausalLM", repo=repo_id)
    elif form == "gguf-adapter":
        return (
            "## Use\n\n```sh\nllama-cli -m BASE.gguf --lora adapter.gguf\n```\n\n"
            f"BASE.gguf is a GGUF of {facts.base_name}.\n"
        )
    else:
        return f"## Use\n\n```sh\nllama-cli -hf {repo_id}\n```\n"
    return f"## Use\n\n```python\n{code}```\n"


def _training(facts: RunFacts, options: CardOptions) -> str:
    spec, story = facts.spec, facts.story
    rows: list[tuple[str, str]] = [("method", spec.method.kind), ("tuning", spec.tuning.kind)]
    if spec.tuning.kind == "lora":
        extras = [
            name for name, is_on in (("rsLoRA", spec.tuning.rslora), ("DoRA", spec.tuning.dora)) if is_on
        ]
        rows.append(("rank, alpha", ", ".join([f"{spec.tuning.rank}, {spec.tuning.alpha:g}", *extras])))
    if story.data:
        rows.append(("data", f"{story.data.rows} rows, {story.data.tokens:,} tokens" + _named(options)))
    rows += [
        ("epochs, steps", f"{story.epoch:.3g}, {story.step}"),
        ("learning rate", f"{facts.plan.learning_rate:g}, {spec.training.schedule}"),
        ("batch size", str(spec.training.batch_size)),
        ("longest row", f"{spec.training.max_length} tokens"),
        ("base held in", f"{facts.precision}, arithmetic in {facts.compute}"),
        ("seed", str(spec.training.seed)),
    ]
    if story.model:
        rows.append(
            (
                "trained parameters",
                f"{count(story.model.trainable_parameters)} of {count(story.model.parameters)}",
            )
        )
    device = next((choice for choice in story.choices if choice.name == "device"), None)
    if device:
        rows.append(("hardware", device.reason if device.value == "cuda" else "CPU"))
    if story.ending is not None and hasattr(story.ending, "seconds"):
        rows.append(("time", duration(story.ending.seconds)))
    rows.append(("energy", _energy(facts)))
    wanted = ("tuner-tui", "torch", "transformers", "trl", "peft", "bitsandbytes")
    versions = ", ".join(f"{name} {story.versions[name]}" for name in wanted if name in story.versions)
    rows.append(("versions", versions))
    return "## Training\n\n| | |\n| --- | --- |\n" + "".join(
        f"| {name} | {_cell(value)} |\n" for name, value in rows
    )


def _named(options: CardOptions) -> str:
    return f" ({', '.join(options.datasets)})" if options.datasets else "; the data set is not named"


def _energy(facts: RunFacts) -> str:
    import msgspec

    for line in reversed(last_lines(facts.folder.telemetry, 20)):
        try:
            sample = msgspec.json.decode(line)
        except msgspec.DecodeError:
            continue
        if isinstance(sample, dict) and isinstance(sample.get("energy_wh"), int | float):
            return f"{sample['energy_wh']:.2f} Wh, by {sample.get('energy_source', 'unknown')}"
    return "not measured: nothing on the machine tells it"


def _evaluation(facts: RunFacts, checked: Checked | None) -> str:
    lines = []
    story = facts.story
    if story.evaluations:
        last, best = story.evaluations[-1], story.best_evaluation
        held_out = f"{story.data.evaluation_rows} held-out rows" if story.data else "held-out rows"
        lines.append(f"Loss on {held_out} (never trained on): {number(last.loss)} at step {last.step}.")
        if best is not None and best.step != last.step:
            lines.append(f"The best was {number(best.loss)} at step {best.step}.")
    else:
        lines.append("No held-out evaluation was made.")
    if story.loss is not None:
        lines.append(f"Training loss at the last step: {number(story.loss)}.")
    if checked is not None:
        told = checked.agreement
        lines.append(
            f"Read back by {checked.reader} and compared with {checked.against}: {told.equal_answers} of "
            f"{told.prompts} greedy answers equal, largest difference of a best token's probability "
            f"{told.largest_probability_difference:.2g}."
        )
    return "## Evaluation\n\n" + " ".join(lines) + "\n" + _elsewhere(checked)


def _elsewhere(checked: Checked | None) -> str:
    """How an adapter from a quantised base behaves on others; empty for the rest."""
    if checked is None or not checked.variants:
        return ""
    head = (
        "\nThe same adapter elsewhere, led along the answers of what was trained:\n\n"
        "| adapter | equal answers | largest difference of a best token's probability |\n| --- | --- | --- |\n"
    )
    return head + "".join(
        f"| {variant.name} | {told.equal_answers} of {told.prompts} | {told.largest_probability_difference:.2g} |\n"
        for variant in checked.variants
        if (told := variant.agreement)
    )


def _samples(
    facts: RunFacts, checked: Checked | None, rows: Sequence[Row], choice: SampleChoice
) -> tuple[str, int]:
    """Answers of base and tuned to the same prompts, and how many were left out because they repeat training rows."""
    if choice == "none":
        return "", 0
    found = _samples_of_run(facts) or [
        (sample.prompt, sample.before, sample.after) for sample in (checked.samples if checked else ())
    ]
    kept = [texts for texts in found if not _repeats(texts, rows)]
    if choice == "all" and len(kept) < len(found):
        raise _repeated([texts for texts in found if texts not in kept])
    if not kept:
        return "", len(found)
    head = "## Samples\n\nGreedy answers, before and after training, cut where they grew long.\n\n"
    head += "| prompt | before | after |\n| --- | --- | --- |\n"
    lines = ["| " + " | ".join(_cell(text[:LONGEST_SAMPLE]) for text in texts) + " |\n" for texts in kept]
    return head + "".join(lines[:MOST_SAMPLES]), len(found) - len(kept)


def _samples_of_run(facts: RunFacts) -> list[tuple[str, str, str]]:
    """The last answers that training wrote down, where base and tuned both answered."""
    last: dict[tuple[int, str], Sampled] = {}
    for sample in facts.story.samples:
        last[sample.prompt_index, sample.source] = sample
    pairs = [(last.get((at, "base")), last.get((at, "tuned"))) for at in sorted({at for at, _ in last})]
    return [(one.prompt, one.answer, two.answer) for one, two in pairs if one and two]


def _repeats(texts: Sequence[str], rows: Sequence[Row]) -> bool:
    whole = " ".join(map(normalised, texts))
    answers = tuple(map(normalised, texts[1:]))
    return any(row_mark(prompt, answer, whole) is not None for prompt, answer in rows) or quotes(
        answers, rows
    )


def _repeated(samples: Sequence[tuple[str, str, str]]) -> InputError:
    lines = [f"{plain(prompt)} -> {plain(after)}" for prompt, _, after in samples[:MOST_SAMPLES]]
    return InputError(
        "A sample repeats a training row",
        "\n".join(line[:LONGEST_SAMPLE] for line in lines),
        "Nothing was sent. The card can leave such samples out: --samples unseen, or s on the Share screen.",
    )


def _limits(facts: RunFacts, licence: str | None) -> str:
    named = licence or "not known"
    return (
        "## Intended use and limits\n\n"
        f"Made for text generation in the manner of its training data, from {facts.base_name}; it inherits that "
        "model's limits and biases. It was not tested for safety, facts or other languages than those of its data, and "
        "a small training set can make it repeat what it saw. Check it for your own use before you rely on it.\n\n"
        f"The base's licence: {named}. It asks derivatives to: {what_it_asks(licence)}.\n"
    )


def _cell(text: str) -> str:
    """Text that a Markdown table shows as it is."""
    return (
        plain(" ".join(text.split()))
        .replace("\\", "\\\\")
        .replace("|", "\\|")
        .replace("<", "\\<")
        .replace("`", "\\`")
    )


_CODE = """from {package} import {kind}
from transformers import AutoTokenizer

model = {kind}.from_pretrained("{repo}")
tokenizer = AutoTokenizer.from_pretrained("{repo}")
messages = [{{"role": "user", "content": "Please tell me about yourself."}}]
inputs = tokenizer.apply_chat_template(
    messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
)
answer = model.generate(**inputs, max_new_tokens=64)[0, inputs["input_ids"].shape[1] :]
print(tokenizer.decode(answer, skip_special_tokens=True))
"""
_REWARD_CODE = """from peft import PeftModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{repo}")
base = AutoModelForSequenceClassification.from_pretrained("{base}", num_labels=1)
base.config.pad_token_id = tokenizer.eos_token_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
model = PeftModel.from_pretrained(base, "{repo}").eval()
messages = [{{"role": "user", "content": "Hello."}}, {{"role": "assistant", "content": "Good day."}}]
inputs = tokenizer.apply_chat_template(messages, return_tensors="pt", return_dict=True)
print(float(model(**inputs).logits))
"""
