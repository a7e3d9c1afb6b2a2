"""The export job: writes a run's result in one form, without loading the whole model."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from tuner_tui.data.tokens.template import TEMPLATE_FILE
from tuner_tui.errors import InputError, TunerError
from tuner_tui.models.model_folder import read_json
from tuner_tui.runs.export_events import BytesWritten, StepEntered, Written
from tuner_tui.worker.export.adapter import write_adapter
from tuner_tui.worker.export.chat_template import stop_texts, take_apart
from tuner_tui.worker.export.gguf_write import QUANTS, write_gguf_adapter, write_gguf_model
from tuner_tui.worker.export.merge import write_merged
from tuner_tui.worker.export.readers import dtype_for
from tuner_tui.worker.export.source import open_run
from tuner_tui.worker.export.tokenizer_files import copy_tokenizer

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.runs.export_events import Event, ExportRequest
    from tuner_tui.worker.export.source import ExportSource

QUANTISER = "llama-quantize"
SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
ADAPTER_FILE, MODEL_FILE = "adapter.gguf", "model.gguf"


def write_form(request: ExportRequest, emit: Callable[[Event], None]) -> None:
    """Write the requested form into its folder and report its files.

    Raises TunerError before writing anything if the model would not fit in memory for verification.
    """
    emit(StepEntered(what="reading the run"))
    source = open_run(request)
    if request.is_verified:
        dtype_for(request, source)  # raises before anything is written
    out = Path(request.out)
    written = Written(files=())
    match request.form:
        case "adapter":
            write_adapter(_adapter(source, request), out, request.base_name)
            copy_tokenizer(source.tokenizer_folder, out, source.template)
        case "merged":
            emit(StepEntered(what="merging, tensor by tensor"))
            write_merged(source.merged(), out, _reporter(emit))
            copy_tokenizer(source.tokenizer_folder, out, source.template)
        case "gguf-adapter":
            _adapter(source, request)
            merged = source.merged()
            quant = request.quant if request.quant in ("f32", "f16") else "f32"
            write_gguf_adapter(
                merged.updates, merged.base.config, out / ADAPTER_FILE, quant, request.base_name
            )
            if source.template is not None:  # otherwise the base's GGUF has its own
                (out / TEMPLATE_FILE).write_text(source.template, encoding="utf-8")
        case "gguf":
            _write_gguf(source, request, emit)
        case "ollama":
            template = take_apart(source.tokenizer)
            _write_gguf(source, request, emit)
            written = Written(
                files=(),
                template=template,
                stop=stop_texts(source.tokenizer, template),
                context_length=source.merged().base.config.max_position_embeddings,
                sampling=sampling_of(source.merged().base.folder),
            )
        case _:
            raise InputError("Unknown export form", request.form)
    names = tuple(sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()))
    emit(msgspec.structs.replace(written, files=names))


def sampling_of(folder: Path) -> dict[str, float]:
    """The sampling settings of a model's generation_config.json; temperature 0 where it says not to sample."""
    path = folder / "generation_config.json"
    settings = read_json(path) if path.is_file() else {}
    if settings.get("do_sample") is False:
        return {"temperature": 0.0}
    return {
        name: float(value)
        for name in SAMPLING
        if isinstance(value := settings.get(name), int | float) and not isinstance(value, bool)
    }


def _adapter(source: ExportSource, request: ExportRequest) -> Path:
    if source.adapter is None:
        raise InputError(
            "A run with full tuning has no adapter",
            f"{Path(request.run).name} trained every weight.",
            "Export the model: --as merged, gguf or ollama",
        )
    return source.adapter


def _write_gguf(source: ExportSource, request: ExportRequest, emit: Callable[[Event], None]) -> None:
    """f32, f16 and q8_0 are written here; other types by llama.cpp's tool, from a temporary f16 file."""
    target = Path(request.out) / MODEL_FILE
    is_ours = request.quant in QUANTS
    tool = None if is_ours else shutil.which(QUANTISER)
    if not is_ours and tool is None:
        raise InputError(
            "This GGUF type needs llama.cpp",
            f"{request.quant} is made by {QUANTISER}, which is not on the PATH; {', '.join(QUANTS)} do not need it.",
            f"Install llama.cpp so that {QUANTISER} is found, or use --quant q8_0.",
        )
    emit(StepEntered(what="merging into GGUF, tensor by tensor"))
    with tempfile.TemporaryDirectory(prefix=".f16-", dir=request.out) as scratch:
        first = target if is_ours else Path(scratch) / "model.f16"
        write_gguf_model(
            source.merged(),
            source.tokenizer,
            source.tokenizer_folder,
            first,
            request.quant if is_ours else "f16",
            request.base_name,
            _reporter(emit),
        )
        if tool is None:
            return
        emit(StepEntered(what=f"quantising to {request.quant}"))
        result = subprocess.run(
            [tool, str(first), str(target), request.quant], capture_output=True, text=True, check=False
        )
    if result.returncode or not target.is_file():
        last = next(iter(result.stderr.splitlines()[-1:]), f"exit code {result.returncode}")
        raise TunerError(
            "llama.cpp could not quantise",
            last,
            f"Run `{QUANTISER}` without arguments for the types it supports.",
        )


def _reporter(emit: Callable[[Event], None]) -> Callable[[int, int], None]:
    """Progress events, at most about a hundred."""
    last = 0

    def report(done: int, total: int) -> None:
        nonlocal last
        if done == total or done - last >= total // 100:
            last = done
            emit(BytesWritten(done_bytes=done, total_bytes=total))

    return report
