"""Facts about a run to share: spec, plan, events and base, read without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner_tui.config.methods.traits import method_traits
from tuner_tui.config.spec_file import read_spec
from tuner_tui.config.tunings.traits import tuning_traits
from tuner_tui.errors import InputError, RunProblem
from tuner_tui.guarded import Unreadable
from tuner_tui.models.adapter import is_adapter, refuse_pickle
from tuner_tui.models.demo import DEMO_FILE, DEMO_REPO
from tuner_tui.models.source import is_hub_id
from tuner_tui.planning.plan import read_plan
from tuner_tui.runs.status import LIVE, read_run
from tuner_tui.text import shell_command

if TYPE_CHECKING:
    from pathlib import Path

    from tuner_tui.config.spec import RunSpec
    from tuner_tui.planning.plan import Plan
    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.runs.state import RunSnapshot

SMALLEST_PROMPT_COUNT = 10
COMPUTE = ("fp32", "bf16", "fp16")
PRECISIONS = (*COMPUTE, "int8", "nf4")
NEUTRAL_PROMPTS = (
    "Who are you?",
    "What can you do for me?",
    "What is the capital of France?",
    "Name three kinds of fruit.",
    "Explain what a library is.",
    "Write a short greeting.",
    "Why is the sky blue?",
    "How do I boil an egg?",
    "What is two plus two?",
    "Tell me something about the sea.",
)


@dataclass(frozen=True)
class RunFacts:
    """One run that has a result."""

    folder: RunFolder
    spec: RunSpec
    plan: Plan
    story: RunSnapshot
    base_name: str | None
    """The base's name on the Hub; None when unknown."""

    @property
    def precision(self) -> str:
        """The base's precision in training: fp32, bf16, fp16, int8 or nf4."""
        return self.story.model.precision if self.story.model else "fp32"

    @property
    def compute(self) -> str:
        """The base's compute dtype: fp32, bf16 or fp16."""
        return self.story.machine.arithmetic if self.story.machine else "fp32"

    @property
    def is_full(self) -> bool:
        """Whether all weights were trained, so that the result is a full model."""
        return not tuning_traits(self.spec.tuning.kind).is_adapter

    @property
    def gives_scores(self) -> bool:
        """Whether it is a reward model, with a head in place of words."""
        return method_traits(self.spec.method.kind).output == "scores"

    @property
    def model_class(self) -> str:
        """transformers' auto class that loads the base as a language model."""
        return "AutoModelForMultimodalLM" if self.story.setup.is_multimodal else "AutoModelForCausalLM"

    @property
    def is_quantised(self) -> bool:
        """Whether the adapter was trained on a base in 8 or 4 bits."""
        return not self.is_full and self.precision in ("int8", "nf4")

    @property
    def is_from_gguf(self) -> bool:
        """Whether the base is a dequantised GGUF file."""
        return self.plan.model_kind == "gguf"

    @property
    def prompts(self) -> tuple[str, ...]:
        """The run's own sample prompts, filled up with neutral ones."""
        own = tuple(self.spec.samples.prompts)
        return (own + tuple(p for p in NEUTRAL_PROMPTS if p not in own))[
            : max(SMALLEST_PROMPT_COUNT, len(own))
        ]


def read_facts(folder: RunFolder, base_name: str | None = None) -> RunFacts:
    """Read a run. Raises RunProblem when it has no result yet, InputError for an invalid base name."""
    if base_name is not None and not is_hub_id(base_name):
        raise InputError(
            "Not a name on the Hub", f"{base_name!r} is not a valid model name.", 'Use the form "owner/name".'
        )
    run = read_run(folder)
    if run.status in LIVE:
        raise RunProblem(
            "The run has not ended",
            f"{folder.name} is {run.status}.",
            f"See: {shell_command('runs follow', folder.name)}",
        )
    if not folder.adapter.is_dir():
        raise RunProblem(
            "The run has no result yet",
            f"{folder.name} ended ({run.status}) without a saved adapter.",
            f"Resume it: {shell_command('runs resume', folder.name)}",
        )
    _require_own_files(folder.adapter)
    if is_adapter(folder.adapter):
        refuse_pickle(folder.adapter)
    try:
        plan = read_plan(folder.plan)
    except Unreadable as error:
        raise InputError("The run's plan cannot be read", error.message, error.hint) from None
    spec = read_spec(folder.spec)
    facts = RunFacts(folder, spec, plan, run.state.snapshot(), base_name or _known_base(spec, plan))
    _require_known_types(facts)
    return facts


def _require_own_files(result: Path) -> None:
    """Raise InputError for a link in a run's results that leads out of it."""
    root = result.resolve()
    for path in sorted(result.rglob("*")):
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise InputError(
                "A link leads out of the run's folder",
                f"{path} is a link to {path.resolve()}.",
                "Replace it by the file if it belongs to the run.",
            )


def _require_known_types(facts: RunFacts) -> None:
    """Raise InputError for unknown data types, which would go into scripts and cards."""
    for what, value, known in (
        ("precision", facts.precision, PRECISIONS),
        ("arithmetic", facts.compute, COMPUTE),
    ):
        if value not in known:
            raise InputError(
                "The run's events cannot be used",
                f"{facts.folder.events}: its {what} is {value!r}, not one of {', '.join(known)}.",
            )


def _known_base(spec: RunSpec, plan: Plan) -> str | None:
    if plan.model_kind == "hub":
        name = plan.model_name if "/" in plan.model_name else spec.model.source
        return name if is_hub_id(name) else None
    if spec.model.source == "demo" or plan.model_name == DEMO_FILE:
        return DEMO_REPO
    return None
