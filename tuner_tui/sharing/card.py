"""The model card: base, data, settings, evaluation, and how to load the model."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tuner_tui.config.spec_file import read_spec
from tuner_tui.config.tunings.traits import tuning_traits
from tuner_tui.errors import InputError, TunerError
from tuner_tui.files import last_lines
from tuner_tui.models.hub_cache import cached_snapshot
from tuner_tui.models.model_folder import read_json
from tuner_tui.runs.folder import RunFolder
from tuner_tui.runs.lineage import ancestors
from tuner_tui.sharing.card_evaluation import evaluation
from tuner_tui.sharing.card_usage import usage
from tuner_tui.sharing.licences import alternatives, licence_of, link_from_elsewhere, told, what_it_asks
from tuner_tui.sharing.scan import normalised, quotes, row_mark
from tuner_tui.text import count, counted, duration, markdown, plain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tuner_tui.models.card_metadata import CardLicence
    from tuner_tui.runs.events import Sampled
    from tuner_tui.runs.export_events import BaseAs, Checked, Form
    from tuner_tui.sharing.run_facts import RunFacts
    from tuner_tui.sharing.scan import Row

SampleChoice = Literal["all", "unseen", "none"]
"""Which samples the card shows: `all` refuses those that repeat training rows, `unseen` leaves them out."""
MOST_SAMPLES = 6
LONGEST_SAMPLE = 400
LIBRARY: dict[Form, str] = {
    "adapter": "peft", "merged": "transformers", "gguf-adapter": "gguf", "gguf": "gguf", "ollama": "gguf",
}  # fmt: skip
UNQUANTISED = ("f32", "f16")


@dataclass(frozen=True)
class CardOptions:
    """Options that only the user can give."""

    languages: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    """Names of data sets on the Hub to mention; none by default."""
    licence: str | None = None
    notes: str = ""
    samples: SampleChoice = "all"


@dataclass(frozen=True)
class CardForm:
    """The form that the card describes, and how it was made."""

    form: Form
    quant: str | None = None
    """Data type of a GGUF form; None for the default, f16."""
    base_as: BaseAs = "trained"
    is_chat: bool = True
    """Whether it includes a chat template."""

    @property
    def is_merged(self) -> bool:
        """Whether the adapter was merged into the base's weights."""
        return self.form in ("merged", "gguf", "ollama")

    @property
    def relation(self) -> str:
        """The Hub's relation of the model to its base."""
        if self.form in ("adapter", "gguf-adapter"):
            return "adapter"
        if self.form == "merged" or (self.quant or "f16").lower() in UNQUANTISED:
            return "finetune"
        return "quantized"


@dataclass(frozen=True)
class Card:
    """A card's text, and warnings about it."""

    text: str
    licence: str | None
    remarks: tuple[str, ...] = field(default=())


def make_card(
    facts: RunFacts,
    made: CardForm,
    repo_id: str,
    checked: Checked | None,
    rows: Sequence[Row],
    options: CardOptions,
) -> Card:
    """Write the card.

    Raises InputError when the base has no name on the Hub (a local path is useless elsewhere), and when a sample
    repeats a training row and `options.samples` is "all".
    """
    require_base_name(facts)
    known = licence_of(facts, options.licence)
    licence = told(known)
    samples, left_out = _samples(facts, checked, rows, options.samples)
    remarks = []
    if left_out:
        what = counted(left_out, "sample is", "samples are")
        remarks.append(f"{what} left out of the card: they repeat a training row.")
    if licence is None:
        remarks.append("The base's licence is unknown; the card says so. Set it with --licence.")
    parts = [
        _front_matter(facts, made, known, options),
        f"# {repo_id.partition('/')[2]}\n",
        _opening(facts, made),
        str(usage(facts, made.form, repo_id, is_chat=made.is_chat)),
        _training(facts, options),
        evaluation(facts, checked),
        samples,
        _limits(facts, licence),
    ]
    return Card("\n".join(part for part in parts if part), licence, tuple(remarks))


def require_base_name(facts: RunFacts) -> None:
    """Raise InputError for a base without a name on the Hub."""
    if facts.base_name is None:
        raise InputError(
            "The base has no name on the Hub",
            f"{facts.plan.model_name} is a local model, and a card must name a base that others can load.",
            "Name the Hub model that it is a copy of: --base OWNER/NAME",
        )


def require_unrepeated(facts: RunFacts, rows: Sequence[Row], choice: SampleChoice) -> None:
    """Raise InputError when one of the run's samples repeats a training row and all are to be shown."""
    _samples(facts, None, rows, choice)


def _front_matter(facts: RunFacts, made: CardForm, licence: CardLicence, options: CardOptions) -> str:
    from huggingface_hub import ModelCardData

    licences = alternatives(licence.identifier) or (["other"] if licence.name else [])
    data = ModelCardData(
        base_model=facts.base_name,
        base_model_relation=made.relation,
        library_name=LIBRARY[made.form],
        pipeline_tag="text-classification" if facts.gives_scores else "text-generation",
        license=licences[0] if len(licences) == 1 else licences or None,  # type: ignore[arg-type]
        license_name=licence.name if licences == ["other"] else None,
        license_link=link_from_elsewhere(licence.link, facts.base_name) if licences == ["other"] else None,
        language=list(options.languages) or None,
        datasets=list(options.datasets) or None,
        tags=["tuner-tui", facts.spec.method.kind, facts.spec.tuning.kind],
    )
    return f"---\n{data.to_yaml()}\n---\n"


def _opening(facts: RunFacts, made: CardForm) -> str:
    title = tuning_traits(facts.spec.tuning.kind).title
    kinds = {
        "adapter": f"{_article(title)} {title} adapter for",
        "merged": "A full model, trained from",
        "gguf-adapter": f"{_article(title)} {title} adapter in GGUF form for",
        "gguf": "A full model in GGUF form, trained from",
        "ollama": "A full model in GGUF form with a Modelfile for Ollama, trained from",
    }
    if facts.gives_scores:
        adapter = f"{_article(title).lower()} {title} adapter with a head"
        kinds["adapter"] = f"A reward model, which scores answers, as {adapter} for"
    text = f"{kinds[made.form]} [{facts.base_name}](https://huggingface.co/{facts.base_name})"
    if facts.is_from_gguf:
        text += (
            f". It was trained on the dequantised GGUF file {markdown(facts.plan.model_name)} of that model; "
            "on the original weights it may behave slightly differently"
        )
    elif facts.is_quantised:
        text += f". It was trained on that model loaded in {facts.precision} by bitsandbytes; " + (
            "on unquantised weights it may behave differently" if not made.is_merged
            else "the adapter was merged into those weights after dequantising them, not into the original ones"
            if made.base_as == "trained"
            else "the adapter was merged into the original weights, where it may behave differently"
        )  # fmt: skip
    return text + ".\n"


def _article(title: str) -> str:
    return "An" if title[:1] in "AEIO" else "A"


def _training(facts: RunFacts, options: CardOptions) -> str:
    spec, story = facts.spec, facts.story
    rows: list[tuple[str, str]] = [("method", _method(facts)), ("tuning", spec.tuning.kind)]
    if not facts.is_full:
        rows += _adapter(facts)
    if revision := _revision(facts):
        rows.append(("base's revision", revision))
    if story.data:
        rows.append(
            (
                "data",
                f"{counted(story.data.rows, 'row')}, {counted(story.data.tokens, 'token')}" + _named(options),
            )
        )
    rows += [
        ("epochs, steps", f"{story.epoch:.3g}, {story.step}"),
        (
            "learning rate",
            f"{facts.plan.learning_rate:g}, {spec.training.schedule}, "
            f"warm-up over {spec.training.warmup:.0%} of the steps",
        ),
        ("optimizer", f"{spec.training.optimizer}, weight decay {spec.training.weight_decay:g}"),
        ("batch size", str(spec.training.batch_size)),
        ("longest row", f"{counted(spec.training.max_length, 'token')}"),
        ("base loaded in", f"{facts.precision}, compute in {facts.compute}"),
        ("seed", str(spec.training.seed)),
    ]
    if story.model:
        rows.append(
            (
                "trained parameters",
                f"{count(story.model.trainable_parameters)} of {count(story.model.parameters)}",
            )
        )
    if story.machine:
        rows.append(("hardware", story.machine.device_name or "CPU"))
    if story.ending is not None and hasattr(story.ending, "seconds"):
        rows.append(("time", duration(story.ending.seconds)))
    rows.append(("energy", _energy(facts)))
    wanted = ("tuner-tui", "torch", "transformers", "trl", "peft", "bitsandbytes")
    versions = ", ".join(f"{name} {story.versions[name]}" for name in wanted if name in story.versions)
    rows.append(("versions", versions))
    return "## Training\n\n| | |\n| --- | --- |\n" + "".join(
        f"| {name} | {markdown(value)} |\n" for name, value in rows
    )


def _method(facts: RunFacts) -> str:
    """The method with its own settings."""
    settings = facts.spec.method.model_dump()
    kind = settings.pop("kind")
    words = [f"{name.replace('_', ' ')} {value}" for name, value in settings.items() if value is not False]
    return ", ".join([str(kind), *words])


def _adapter(facts: RunFacts) -> list[tuple[str, str]]:
    """The adapter by its own settings, and what it started from."""
    settings = read_json(facts.folder.adapter / "adapter_config.json")
    extras = [
        name for name, key in (("rsLoRA", "use_rslora"), ("DoRA", "use_dora")) if settings.get(key) is True
    ]
    rows = []
    if settings.get("r"):
        rows.append(("rank, alpha", ", ".join([f"{settings['r']}, {settings.get('lora_alpha'):g}", *extras])))
    targets = settings.get("target_modules")
    if targets:
        rows.append(
            ("layers with adapters", targets if isinstance(targets, str) else ", ".join(sorted(targets)))
        )
    if facts.plan.start is not None:
        earlier = [_method_of(RunFolder(facts.folder.path.parent / name)) for name in ancestors(facts.folder)]
        words = ", ".join(kind for kind in reversed(earlier) if kind)
        before = f", trained before by {words}" if words else ""
        rows.append(("started from", f"another adapter for this base{before}"))
    return rows


def _method_of(run: RunFolder) -> str | None:
    try:
        return read_spec(run.spec).method.kind
    except (TunerError, OSError):
        return None


def _revision(facts: RunFacts) -> str | None:
    """The base's commit on the Hub, where it is known."""
    if facts.plan.model_kind != "hub":
        return None
    local = Path(facts.plan.model_location)
    snapshot = None if local.is_dir() else cached_snapshot(facts.plan.model_location, facts.plan.revision)
    return snapshot.name if snapshot else facts.plan.revision


def _named(options: CardOptions) -> str:
    return f" ({', '.join(options.datasets)})" if options.datasets else "; the data set is not named"


def _energy(facts: RunFacts) -> str:
    import msgspec

    for line in reversed(last_lines(facts.folder.telemetry, 20)):
        try:
            sample = msgspec.json.decode(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(sample, dict) and isinstance(sample.get("energy_wh"), int | float):
            return f"{sample['energy_wh']:.2f} Wh, by {sample.get('energy_source', 'unknown')}"
    return "not measured: the machine has no power readings"


def _samples(
    facts: RunFacts, checked: Checked | None, rows: Sequence[Row], choice: SampleChoice
) -> tuple[str, int]:
    """Answers of base and tuned model to the same prompts, and how many were left out for repeating training rows."""
    if choice == "none":
        return "", 0
    samples = _samples_of_run(facts) or [
        (sample.prompt, sample.before, sample.after) for sample in (checked.samples if checked else ())
    ]
    shown = [texts for texts in samples if not _repeats(texts, rows)]
    if choice == "all" and len(shown) < len(samples):
        raise _repeated([texts for texts in samples if texts not in shown])
    if not shown:
        return "", len(samples)
    head = "## Samples\n\nGreedy answers before and after training; long ones are truncated.\n\n"
    head += "| prompt | before | after |\n| --- | --- | --- |\n"
    lines = ["| " + " | ".join(markdown(text[:LONGEST_SAMPLE]) for text in texts) + " |\n" for texts in shown]
    return head + "".join(lines[:MOST_SAMPLES]), len(samples) - len(shown)


def _samples_of_run(facts: RunFacts) -> list[tuple[str, str, str]]:
    """The last recorded answers, where both base and tuned model answered."""
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
        "Nothing was sent. The card can leave such samples out: --samples unseen, or g on the Share screen.",
    )


def _limits(facts: RunFacts, licence: str | None) -> str:
    named = markdown(licence) if licence else "not known"
    use = (
        "to score answers by its training pairs; scores are comparable only for the same prompt"
        if facts.gives_scores
        else "for text generation in the style of its training data"
    )
    return (
        "## Intended use and limits\n\n"
        f"Made {use}, from {facts.base_name}; it inherits that "
        "model's limits and biases. It was not tested for safety, factual accuracy or other languages than those of "
        "its data, and a small training set can make it repeat training rows. Check it for your use before you rely "
        "on it.\n\n"
        f"The base's licence: {named}. It requires derivatives to: {what_it_asks(licence)}.\n"
    )
