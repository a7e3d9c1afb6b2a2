"""The verification job: an export is loaded with an independent reader and compared with the trained model."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gguf
import torch
from peft import PeftModel
from transformers import AutoTokenizer

from tuner_tui.errors import TunerError
from tuner_tui.models.adapter import REWARD_TASK, read_adapter
from tuner_tui.runs.export_events import Agreement, BeforeAfter, Checked, StepEntered, Variant
from tuner_tui.worker.export import readers
from tuner_tui.worker.export.base_weights import BaseWeights
from tuner_tui.worker.export.comparison import COARSE, EXACT, QUANTISED, ROUNDED, answer_all, compare
from tuner_tui.worker.export.gguf_shapes import rope_factors
from tuner_tui.worker.export.other_bases import OTHER_BASES, on_other_bases
from tuner_tui.worker.export.rounds import Rounds
from tuner_tui.worker.export.source import open_run
from tuner_tui.worker.export.tokenizer_check import require_same_gguf_tokenizer, require_same_tokenizer
from tuner_tui.worker.export.write import ADAPTER_FILE, MODEL_FILE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.runs.export_events import Event, ExportRequest
    from tuner_tui.worker.export.comparison import Answer, Tolerance
    from tuner_tui.worker.export.source import ExportSource

SAMPLES = 6
"""Number of prompts that the base answers too, for the model card."""
NEXT = "Keep the run; export another form, and report this with the versions that `tuner-tui doctor` shows."


def check_form(request: ExportRequest, emit: Callable[[Event], None]) -> None:
    """Load an export and compare it with the trained model. Raises TunerError that names the first difference."""
    source = open_run(request)
    out = Path(request.out)
    emit(StepEntered(what="checking tokenizer and chat template"))
    _check_tokenizer(request, source, out)
    if source.adapter is not None and read_adapter(source.adapter).task == REWARD_TASK:
        _check_scores(request, source, source.adapter, out, emit)
        return
    emit(StepEntered(what="running the trained model"))
    precision = source.trained_as if request.form == "adapter" else source.merged_as
    dtype = readers.dtype_for(request, source)
    rounds = _rounds(request, source, precision, emit)
    answers, samples = _asked(source, precision, request, dtype, rounds)
    emit(StepEntered(what="running the export"))
    reader, other = _read_back(request, source, out, dtype)
    tolerance = _tolerance(request, source, dtype)
    agreement, mismatch = compare(
        answers, other, tolerance, source.tokenizer.decode, rounds.begin("comparisons")
    )
    if mismatch is not None:
        raise TunerError(
            "The export does not behave like the trained model",
            f"At {mismatch.where}: {mismatch.difference}. Reader: {reader}.",
            NEXT,
        )
    as_trained = None
    if source.trained_as != precision:
        emit(StepEntered(what="running the model with the base as loaded in training"))
        as_trained = _against_training(source, request, other, dtype, rounds)
    variants: tuple[Variant, ...] = ()
    if _has_other_bases(request, source):
        del other
        gc.collect()
        emit(StepEntered(what="running the adapter on other bases"))
        variants = on_other_bases(source, answers, rounds)
    emit(
        Checked(
            reader=reader,
            against=_claim(source, precision),
            agreement=agreement,
            samples=samples,
            as_trained=as_trained,
            variants=variants,
        )
    )


def _has_other_bases(request: ExportRequest, source: ExportSource) -> bool:
    """Whether the adapter is also run on bases other than the one it was trained on."""
    return request.form == "adapter" and source.trained_as != "files"


def _rounds(
    request: ExportRequest, source: ExportSource, precision: str, emit: Callable[[Event], None]
) -> Rounds:
    """What `check_form` is going to run."""
    prompts = len(request.prompts)
    is_twice = source.trained_as != precision
    answers = prompts * (1 + is_twice) + (min(SAMPLES, prompts) if source.adapter is not None else 0)
    others = OTHER_BASES if _has_other_bases(request, source) else 0
    return Rounds({"answers": answers, "comparisons": prompts * (1 + is_twice + others)}, emit)


def _check_scores(
    request: ExportRequest, source: ExportSource, adapter: Path, out: Path, emit: Callable[[Event], None]
) -> None:
    """A reward model's scores before and after export must be equal. Raises TunerError."""
    emit(StepEntered(what="scoring with the trained model and with the export"))
    dtype = readers.choose_dtype(source.base)
    rounds = Rounds({"comparisons": 2 * len(request.prompts)}, emit)
    before, after = (
        readers.scores_of(source.base, folder, request.prompts, source.tokenizer, dtype, rounds)
        for folder in (adapter, out)
    )
    differences = [abs(left - right) for left, right in zip(before, after, strict=True)]
    if max(differences) > 0:
        raise TunerError(
            "The export does not behave like the trained model",
            f"A score differs by {max(differences):g}. Reader: PEFT.",
            NEXT,
        )
    emit(
        Checked(
            reader="PEFT",
            against="the adapter and head on the base's own weights",
            agreement=Agreement(
                prompts=len(before),
                equal_answers=len(before),
                tokens=len(before),
                near_ties=0,
                largest_logit_difference=0.0,
                largest_probability_difference=0.0,
                mean_kl=0.0,
            ),
        )
    )


def compare_bases(request: ExportRequest, emit: Callable[[Event], None]) -> None:
    """How the adapter behaves on the original weights compared with those it was trained on, before merging."""
    source = open_run(request)
    dtype = readers.choose_dtype(source.base)
    emit(StepEntered(what=f"running the model on its {source.trained_as} base"))
    prompts = len(request.prompts)
    rounds = Rounds({"answers": prompts, "comparisons": prompts}, emit)
    answers, _ = _asked(source, source.trained_as, request, dtype, rounds, has_samples=False)
    emit(StepEntered(what="running it on the original base"))
    other = readers.load_trained(source.base, source.adapter, "files", source.compute, dtype)
    agreement, _ = compare(answers, other, EXACT, source.tokenizer.decode, rounds.begin("comparisons"))
    emit(
        Checked(
            reader="PEFT, on the original weights",
            against=_claim(source, source.trained_as),
            agreement=agreement,
        )
    )


def _asked(
    source: ExportSource,
    precision: str,
    request: ExportRequest,
    dtype: torch.dtype,
    rounds: Rounds,
    *,
    has_samples: bool = True,
) -> tuple[list[Answer], tuple[BeforeAfter, ...]]:
    """Answers of the trained model to all prompts, and of the base to the first few unless without samples."""
    model = readers.load_trained(source.base, source.adapter, precision, source.compute, dtype)
    tokenizer, most = source.tokenizer, request.max_new_tokens
    answers = answer_all(model, tokenizer, request.prompts, most, rounds.begin("answers"))
    samples: tuple[BeforeAfter, ...] = ()
    if source.adapter is not None and has_samples:
        with model.disable_adapter():
            before = answer_all(model, tokenizer, request.prompts[:SAMPLES], most, rounds.begin("answers"))
        samples = tuple(
            BeforeAfter(prompt=one.prompt, before=_text(source, one), after=_text(source, two))
            for one, two in zip(before, answers, strict=False)
        )
    del model
    gc.collect()
    return answers, samples


def _text(source: ExportSource, answer: Answer) -> str:
    tokens = answer.tokens[answer.prompt_length :].tolist()
    return str(source.tokenizer.decode(tokens, skip_special_tokens=True)).strip()


def _against_training(
    source: ExportSource, request: ExportRequest, other: Any, dtype: torch.dtype, rounds: Rounds
) -> Agreement:
    answers, _ = _asked(source, source.trained_as, request, dtype, rounds, has_samples=False)
    agreement, _ = compare(answers, other, EXACT, source.tokenizer.decode, rounds.begin("comparisons"))
    return agreement


def _read_back(
    request: ExportRequest, source: ExportSource, out: Path, dtype: torch.dtype
) -> tuple[str, Any]:
    """The export loaded as a user would load it, and the name of the reader."""
    match request.form:
        case "adapter":
            base = readers.load_base(source.base, source.trained_as, source.compute, dtype)
            return "PEFT", PeftModel.from_pretrained(base, str(out)).eval()
        case "merged":
            return "transformers", readers.load_model(out, dtype).eval()
        case "gguf-adapter":
            file = out / ADAPTER_FILE
            return "the gguf library", readers.load_gguf_adapter(
                file, source.base, source.trained_as, source.compute, dtype
            )
    _check_rope(out / MODEL_FILE, source)
    if dtype != torch.float32 or not readers.holds_whole_gguf(source.base):
        return "the gguf library", readers.load_gguf_lean(out / MODEL_FILE, source.base, dtype)
    return "transformers' GGUF reader", readers.load_gguf(out / MODEL_FILE, source.base)


def _check_rope(file: Path, source: ExportSource) -> None:
    wanted = rope_factors(BaseWeights(source.base).config)
    factors = [tensor.data for tensor in gguf.GGUFReader(file).tensors if tensor.name == "rope_freqs.weight"]
    if wanted is None and not factors:
        return
    if wanted is None or not factors or not torch.allclose(torch.from_numpy(factors[0].copy()), wanted):
        raise TunerError(
            "The GGUF's rotary factors are wrong", f"{file.name}: rope_freqs.weight differs.", NEXT
        )


def _check_tokenizer(request: ExportRequest, source: ExportSource, out: Path) -> None:
    if request.form in ("gguf", "ollama"):
        require_same_gguf_tokenizer(source.tokenizer, out / MODEL_FILE, request.prompts)
    elif request.form in ("adapter", "merged"):
        require_same_tokenizer(source.tokenizer, AutoTokenizer.from_pretrained(out), request.prompts)


def _tolerance(request: ExportRequest, source: ExportSource, dtype: torch.dtype) -> Tolerance:
    exact = EXACT if dtype == torch.float32 or request.form == "adapter" else COARSE
    rounded = ROUNDED if dtype == torch.float32 else COARSE
    if request.form in ("gguf", "ollama"):
        return exact if request.quant == "f32" else rounded if request.quant == "f16" else QUANTISED
    if request.form == "gguf-adapter":
        return exact if request.quant == "f32" else rounded
    is_wide = all(entry.dtype == torch.float32 for entry in BaseWeights(source.base).outputs.values())
    return exact if request.form == "adapter" or is_wide else rounded


def _claim(source: ExportSource, precision: str) -> str:
    if source.adapter is None:
        return "the trained model"
    names = {"files": "the base's own weights", "nf4": "the 4-bit base", "int8": "the 8-bit base"}
    return f"the adapter on {names[precision]}"
