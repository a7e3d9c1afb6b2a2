"""Loads a base model and its tokenizer in the resolved precision."""

from __future__ import annotations

import json
import logging
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BitsAndBytesConfig,
    FineGrainedFP8Config,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils.quantization_config import Mxfp4Config

from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.files import settle_modes
from tuner_tui.models import dequantised
from tuner_tui.models.adapter import refuse_adapter_beside
from tuner_tui.models.stored import is_unpacked
from tuner_tui.models.trusted_code import require_trusted
from tuner_tui.worker.model.classes import language_model_class
from tuner_tui.worker.model.gguf_loading import load_gguf_model
from tuner_tui.worker.model.gguf_reading import read_once
from tuner_tui.worker.text.tokenizer_trial import require_loadable_tokenizer

if TYPE_CHECKING:
    from collections.abc import Collection

    from tuner_tui.config.spec import ModelSpec
    from tuner_tui.planning.plan import Plan
    from tuner_tui.worker.device.machine import Machine

KEEP_FP32_BELOW = 1_000_000_000
"""Models with fewer parameters are dequantised to fp32; larger ones to bf16, in which they were published."""


def find_weights(plan: Plan) -> tuple[str, str | None]:
    """(name or folder for from_pretrained, revision). A GGUF file is dequantised once into the cache."""
    if plan.model_kind == "gguf":
        return str(dequantise_once(Path(plan.model_location))), None
    return plan.model_location, plan.revision


def what_finding_takes(plan: Plan) -> str:
    """A description of what `find_weights` is about to do."""
    if plan.model_kind != "gguf":
        return "finding the model"
    is_made = dequantised.is_complete(
        dequantised.entry_folder(dequantised.fingerprint(Path(plan.model_location)))
    )
    return (
        "finding the dequantised model"
        if is_made
        else "dequantising the GGUF file once; takes about half a minute"
    )


def load_tokenizer(location: str, revision: str | None, spec: ModelSpec) -> PreTrainedTokenizerBase:
    """The model's tokenizer, with a pad token. Raises TunerError."""
    try:
        require_loadable_tokenizer(location, revision)
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            location, revision=revision, trust_remote_code=may_run_code(spec, location, revision)
        )
    except Exception as error:
        raise explain_loading(error, location, spec) from error
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_base(
    location: str, revision: str | None, spec: ModelSpec, machine: Machine, *, has_head: bool = False
) -> PreTrainedModel:
    """The base model in the machine's precision. Raises TunerError.

    With `has_head` it has a scalar head that scores sequences; the head is new unless the model has one.
    """
    options: dict[str, Any] = {
        "dtype": machine.compute_dtype,
        "device_map": {"": 0} if machine.is_gpu else "cpu",
    }
    quantisation = quantisation_config(machine)
    if quantisation is not None:
        options["quantization_config"] = quantisation
    if spec.attention != "auto":
        options["attn_implementation"] = spec.attention
    refuse_adapter_beside(Path(location))
    try:
        is_code_trusted = may_run_code(spec, location, revision)
        config = AutoConfig.from_pretrained(location, revision=revision, trust_remote_code=is_code_trusted)
        unpacking = unpacking_config(config)
        if unpacking is not None:
            options["quantization_config"] = unpacking
        kind = AutoModelForSequenceClassification if has_head else language_model_class(config)
        extra = {"num_labels": 1} if has_head else {}
        model: PreTrainedModel
        model, loaded = kind.from_pretrained(
            location,
            revision=revision,
            trust_remote_code=is_code_trusted,
            use_safetensors=True,
            output_loading_info=True,
            **options,
            **extra,
        )
        if not has_head:  # a head may be new
            _require_all_weights(model, loaded["missing_keys"], location)
        if unpacking is not None:  # FP8 is unpacked to bf16, whatever dtype is set
            model = model.to(machine.compute_dtype)  # type: ignore[arg-type]
    except Exception as error:
        raise explain_loading(error, location, spec) from error
    keep_trainable(model)
    return model


def _require_all_weights(model: PreTrainedModel, missing: Collection[str], location: str) -> None:
    """Raise InputError where weights are not in the files: transformers gives them random values and continues."""
    parameters = {name for name, _ in model.named_parameters()}
    if absent := sorted(parameters.intersection(missing)):
        more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
        raise InputError(
            "The model's files lack weights",
            f"{location}: {type(model).__name__} has {absent[0]}{more}, and transformers finds nothing to load there.",
            "Use the complete model, or one whose weights the installed transformers can read.",
        )


def may_run_code(spec: ModelSpec, location: str, revision: str | None) -> bool:
    """Whether transformers may run the model's own code. Raises UntrustedCode where only run.toml allows it."""
    return require_trusted(spec.trust_remote_code, spec.source, location, revision)


def keep_trainable(model: PreTrainedModel) -> None:
    """Keep bitsandbytes from repacking a 4-bit base for inference when it evaluates or samples on a CPU.

    On CPUs with AVX512-BF16 it would (0.50.2): repacked layers pass no gradient, even back in training mode, so most of
    the adapter would silently train wrongly, and layers narrower than a block fail.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010 - not a tensor, as mypy has it


def quantisation_config(machine: Machine) -> BitsAndBytesConfig | None:
    """bitsandbytes' configuration for the base; None for unquantised precisions."""
    if machine.precision == "int8":
        # bitsandbytes would log a line per layer and step that its inputs are cast to fp16, which is expected in int8
        logging.getLogger("bitsandbytes.autograd._functions").setLevel(logging.ERROR)
        return BitsAndBytesConfig(load_in_8bit=True)  # type: ignore[no-untyped-call]
    if machine.precision == "nf4":
        return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=machine.compute_dtype,
        )
    return None


def unpacking_config(config: PreTrainedConfig) -> Any:
    """The configuration that unpacks a repository's own quantisation, if that cannot be trained on; else None."""
    stored = getattr(config, "quantization_config", None)
    method = stored.get("quant_method") if isinstance(stored, dict) else getattr(stored, "quant_method", None)
    method = str(getattr(method, "value", method))
    if not is_unpacked(method):
        return None
    return Mxfp4Config(dequantize=True) if method == "mxfp4" else FineGrainedFP8Config(dequantize=True)


def dequantise_once(gguf: Path) -> Path:
    """The folder with the GGUF's weights as safetensors, made on first use and keyed by the file's hash."""
    folder = dequantised.entry_folder(dequantised.fingerprint(gguf))
    if dequantised.is_complete(folder):
        return folder
    making = folder.parent / f".partial-{folder.name}-{os.getpid()}"
    try:
        dequantised.owned().claim()
        _dequantise(gguf, making)
        origin = {
            "source": str(gguf),
            "name": gguf.name,
            "made_at": time.time(),
            "reading": dequantised.READING,
        }
        (making / "origin.json").write_text(json.dumps(origin))
        settle_modes(making)
        if folder.exists():
            dequantised.owned().remove(folder)
        making.rename(folder)
    except OSError as error:
        raise TunerError(
            "The model cannot be dequantised into the cache",
            f"{folder.parent}: {error.strerror or error}.",
            "Free space there; see: tuner-tui models list",
        ) from error
    finally:
        dequantised.owned().discard(making)
    return folder


def _dequantise(gguf: Path, target: Path) -> None:
    source = str(gguf.parent)
    try:
        with read_once():
            tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf.name)
            model = load_gguf_model(gguf)
    except (OSError, TunerError):
        raise
    except Exception as error:
        raise InputError(
            "The GGUF file cannot be read as a model",
            f"{gguf}: {error}",
            "Use the model's safetensors version, or another GGUF of a supported architecture.",
        ) from error
    if model.num_parameters() >= KEEP_FP32_BELOW:
        model = model.bfloat16()
    for setting in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(model.config, setting):
            delattr(model.config, setting)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def explain_loading(error: Exception, location: str, spec: ModelSpec) -> Exception:
    """The explanation of a library's loading error; the error itself when it is not a known one."""
    text = str(error)
    if isinstance(error, TunerError) or is_out_of_memory(error):
        return error
    if "trust_remote_code" in text:
        return InputError(
            "The model needs its own code",
            f"{location} ships Python code that must run to load it.",
            "If you trust its author, set model.trust_remote_code = true; else use another model.",
        )
    if "does not recognize this architecture" in text or "Unrecognized model" in text:
        return InputError(
            "The model's architecture is not supported",
            f"{location}: the installed transformers does not support it.",
            "Upgrade transformers, or use another model.",
        )
    if "SafetensorError" in type(error).__name__ or "Error while deserializing header" in text:
        return InputError(
            "A weights file is damaged",
            f"{location}: {text}",
            "Download it again; this copy is truncated or corrupt.",
        )
    if "is not a local folder and is not a valid model identifier" in text:
        return NotFoundError(
            "No such model",
            location,
            "Give a model's folder, a GGUF file, or OWNER/NAME on the Hub. What is on this machine: "
            "tuner-tui models list",
        )
    if isinstance(error, (OSError, ValueError)):
        first = next((line for line in text.splitlines() if line.strip()), type(error).__name__)
        return InputError("The model cannot be loaded", f"{location}: {first}", "See the log for details.")
    return error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is an out-of-memory error, of a GPU or a CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(
        mark in text
        for mark in (
            "can't allocate memory",
            "CUDA out of memory",
            "not enough memory",
            "CUBLAS_STATUS_ALLOC",
        )
    )
