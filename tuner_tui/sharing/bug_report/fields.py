"""Which fields of a run's records and of the hardware may leave, decided for each by name.

A field that is not named here does not leave, and a test fails until it is decided.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from tuner_tui.config.methods.metrics import METRICS
from tuner_tui.hardware import gpu, system, torch_report
from tuner_tui.hardware.doctor import Check
from tuner_tui.planning import oom_fallback, plan
from tuner_tui.runs import events
from tuner_tui.runs.model_setup import ModelSetup
from tuner_tui.sharing.bug_report.known_texts import HIDDEN
from tuner_tui.versions import LIBRARIES

if TYPE_CHECKING:
    from tuner_tui.sharing.bug_report.known_texts import KnownTexts

Decision = Literal[
    "stays",  # never leaves
    "number",  # numbers, and true or false
    "word",  # a text that as a whole is a string of our source, such as a vocabulary's
    "text",  # a message: what our source says of it
    "version",
    "versions",  # the libraries' versions
    "device",  # a GPU's name, as its driver gives it
    "step",  # a checkpoint, by its step
    "metrics",  # numbers by names that we know
    "model",  # the demo by its name, others not
    "records",  # records with decisions of their own, by name or in a list
]

DECISIONS: dict[type[msgspec.Struct], dict[str, Decision]] = {
    events.RunStarted: {"protocol": "number", "versions": "versions", "is_resumed": "number"},
    events.WorkerStarted: {"pid": "stays", "local_time": "stays"},
    events.PhaseEntered: {"phase": "word", "detail": "text"},
    events.ChoicesMade: {"choices": "records", "machine": "records", "setup": "records"},
    events.ModelLoaded: {
        "source": "model",
        "precision": "word",
        "device": "word",
        "parameters": "number",
        "trainable_parameters": "number",
        "memory_bytes": "number",
        "seconds": "number",
    },
    events.DataPrepared: {
        "rows": "number",
        "dropped_rows": "number",
        "cut_rows": "number",
        "evaluation_rows": "number",
        "tokens": "number",
        "trained_tokens": "number",
        "longest_row": "number",
        "shape": "word",
    },
    events.TrainingStarted: {
        "total_steps": "number",
        "from_step": "number",
        "micro_batch": "number",
        "accumulation": "number",
        "shape": "records",
        "checkpoint": "step",
    },
    events.StepLogged: {
        "step": "number",
        "total_steps": "number",
        "epoch": "number",
        "loss": "number",
        "grad_norm": "number",
        "learning_rate": "number",
        "tokens": "number",
        "seconds": "number",
        "peak_memory_bytes": "number",
        "metrics": "metrics",
    },
    events.Evaluated: {
        "step": "number",
        "loss": "number",
        "seconds": "number",
        "is_best": "number",
        "metrics": "metrics",
    },
    events.Sampled: {
        "step": "number",
        "prompt_index": "number",
        "prompt": "stays",
        "answer": "stays",
        "source": "word",
        "seconds": "number",
        "is_finished": "number",
    },
    events.CheckpointSaved: {
        "step": "number",
        "path": "stays",
        "size_bytes": "number",
        "seconds": "number",
        "reason": "word",
    },
    events.RequestAccepted: {"id": "stays", "request": "word", "takes_effect": "text"},
    events.Warned: {"message": "text", "hint": "text"},
    events.MemoryShort: {
        "where": "word",
        "step": "number",
        "message": "text",
        "checkpoint": "step",
        "shape": "records",
        "has_made_steps": "number",
    },
    events.FallbackTaken: {"fallback": "records"},
    events.StepSkipped: {"step": "number", "reason": "text"},
    events.RolledBack: {"step": "number", "checkpoint": "step", "reason": "text"},
    events.AdapterSaved: {"path": "stays", "size_bytes": "number"},
    events.StepsProfiled: {"first_step": "number", "steps": "number", "path": "stays"},
    events.OverheadMeasured: {
        "step_seconds": "number",
        "callback_seconds": "number",
        "sample_seconds": "number",
        "evaluation_seconds": "number",
        "checkpoint_seconds": "number",
    },
    events.RunFinished: {"step": "number", "loss": "number", "seconds": "number", "reason": "word"},
    events.RunStopped: {"step": "number", "checkpoint": "step", "seconds": "number", "is_pause": "number"},
    events.RunFailed: {
        "kind": "word",
        "title": "text",
        "message": "text",
        "hint": "text",
        "exit_code": "number",
        "log_tail": "stays",  # the log has a section of its own
        "step": "number",
    },
    events.ChosenMachine: {
        "device": "word",
        "device_name": "device",
        "precision": "word",
        "arithmetic": "word",
        "is_mixed": "number",
    },
    oom_fallback.Shape: {
        "micro_batch": "number",
        "batch_size": "number",
        "is_checkpointing": "number",
        "at_least": "number",
        "concurrent": "number",
    },
    oom_fallback.FallbackStep: {
        "kind": "word",
        "before": "text",
        "after": "text",
        "reason": "text",
        "micro_batch": "number",
    },
    ModelSetup: {
        "is_multimodal": "number",
        "is_partly_adapted": "number",
        "is_without_router_loss": "number",
    },
    plan.Choice: {"name": "word", "value": "word", "reason": "text"},
    plan.StartAdapter: {
        "name": "stays",
        "is_run": "number",
        "path": "stays",
        "base": "stays",
        "rank": "number",
        "alpha": "number",
    },
    plan.PlannedMemory: {
        "precision": "word",
        "micro_batch": "number",
        "is_checkpointing": "number",
        "allocated_bytes": "number",
        "low_bytes": "number",
        "high_bytes": "number",
        "is_grouped": "number",
        "is_sorted": "number",
        "concurrent": "number",
    },
    plan.Plan: {
        "model_kind": "word",
        "model_location": "stays",
        "model_name": "model",
        "revision": "stays",
        "learning_rate": "number",
        "threads": "number",
        "choices": "records",
        "start": "records",
        "fallbacks": "records",
        "memory": "records",
        "skipped_steps": "number",
        "base_digest": "stays",
    },
    gpu.GpuReport: {
        "driver_version": "version",
        "cuda_driver_version": "version",
        "gpus": "records",
        "problem": "text",
        "gpu_present": "number",
    },
    gpu.GpuSnapshot: {
        "index": "number",
        "name": "device",
        "uuid": "stays",
        "memory_total_bytes": "number",
        "memory_used_bytes": "number",
        "memory_free_bytes": "number",
        "utilisation_percent": "number",
        "temperature_celsius": "number",
        "power_watts": "number",
        "power_limit_watts": "number",
        "fan_percent": "stays",
        "sm_clock_mhz": "number",
        "memory_clock_mhz": "stays",
        "throttle_reasons": "word",
        "energy_millijoules": "stays",
        "compute_capability": "number",
        "processes": "records",
        "slices": "records",
    },
    gpu.GpuProcess: {"pid": "stays", "name": "stays", "memory_bytes": "number"},
    gpu.GpuSlice: {"uuid": "stays", "memory_total_bytes": "number", "memory_free_bytes": "number"},
    system.SystemSnapshot: {
        "cpu_percent": "number",
        "cpu_count": "number",
        "cpu_count_machine": "number",
        "ram_total_bytes": "number",
        "ram_available_bytes": "number",
        "swap_total_bytes": "number",
        "swap_free_bytes": "number",
    },
    torch_report.TorchReport: {
        "torch_version": "version",
        "cuda_build": "version",
        "rocm_build": "version",
        "arch_list": "version",
        "cuda_available": "number",
        "devices": "records",
        "cpu_bf16_fast": "number",
        "bitsandbytes": "text",
        "precisions": "records",
        "error": "text",
    },
    torch_report.TorchDevice: {"name": "device", "capability": "number", "bf16": "number"},
    torch_report.PrecisionReport: {"works": "number", "note": "text"},
    Check: {"name": "text", "status": "word", "value": "text", "detail": "text", "remedy": "text"},
}
"""Every record that the report holds, and each of its fields."""

VERSION = re.compile(
    r"(?:sm_|compute_)?\d{1,4}(?:\.\d{1,6}){0,4}(?:[.-]?(?:a|b|rc|dev|post)\d{1,8})?"
    r"(?:\+(?:cpu|xpu|cu\d{2,4}|rocm[\d.]{1,6})\b)?[af]?\b"
)
STEP = re.compile(r"step-\d{1,9}")
DEVICE_WORDS = frozenset(
    [
        "NVIDIA",
        "AMD",
        "Intel",
        "GeForce",
        "Quadro",
        "Tesla",
        "TITAN",
        "Titan",
        "Radeon",
        "Instinct",
        "Arc",
        "Jetson",
        "Orin",
        "Nano",
        "Xavier",
        "Thor",
        "Grace",
        "Hopper",
        "Blackwell",
        "RTX",
        "GTX",
        "GT",
        "RX",
        "PRO",
        "Pro",
        "Ti",
        "SUPER",
        "XT",
        "XTX",
        "GRE",
        "Max",
        "Max-Q",
        "Laptop",
        "Mobile",
        "Ada",
        "Generation",
        "Graphics",
        "GPU",
        "PCIe",
        "NVL",
        "SXM",
        "SXM2",
        "SXM4",
        "SXM5",
        "V",
        "Xp",
        "Black",
        "Edition",
        "Workstation",
        "Server",
        "MIG",
        "HBM2",
        "HBM2e",
        "HBM3",
        "HBM3e",
        "Superchip",
    ]
)
DEVICE_NUMBER = re.compile(
    r"[A-Z]{0,3}\d{1,5}[A-Za-z]{0,3}|\d{1,4}[- ]?GB|\d{1,2}g\.\d{1,3}gb|[A-Z]\d{2,4}-\w{3,4}-\d{1,3}GB"
)
METRIC_NAMES = frozenset(metric.name for metric in METRICS)
DEMO = "demo"
OPEN_NAMES = frozenset({"number", "word", "version"})
"""Decisions that hold for each value of a list as well."""


def shown_record(record: msgspec.Struct, texts: KnownTexts) -> dict[str, Any]:
    """The fields of a record that may leave, without those that are unknown or empty."""
    decisions = DECISIONS.get(type(record), {})
    fields = {}
    for name in record.__struct_fields__:
        value = shown_value(decisions.get(name, "stays"), getattr(record, name), texts)
        if value is not None and value != "" and value != [] and value != {}:
            fields[name] = value
    return fields


def shown_value(decision: Decision, value: Any, texts: KnownTexts) -> Any:
    """A value as it may leave; None when it stays."""
    if isinstance(value, (list, tuple)) and (decision in OPEN_NAMES or decision == "records"):
        return [shown for item in value if (shown := shown_value(decision, item, texts)) is not None]
    match decision:
        case "number":
            return _number(value)
        case "records":
            return _records(value, texts)
        case "metrics" if isinstance(value, dict):
            return {
                name: _number(number)
                for name, number in value.items()
                if name in METRIC_NAMES and isinstance(number, (int, float))
            }
        case "versions" if isinstance(value, dict):
            names = {*LIBRARIES, "tuner-tui", "python"}
            return {name: shown_version(str(text)) for name, text in value.items() if name in names}
    if not isinstance(value, str) or not value:
        return None
    return _shown_text(decision, value, texts)


def _number(value: Any) -> int | float | None:
    """A number, six digits of it where it is no whole one."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    return value if isinstance(value, int) else None


def _shown_text(decision: Decision, value: str, texts: KnownTexts) -> str | None:
    match decision:
        case "word" if texts.is_word(value) or (value.isdecimal() and len(value) <= 6):
            return value
        case "word":
            return HIDDEN
        case "text":
            return texts.shown(value)
        case "version":
            return shown_version(value)
        case "device":
            return " ".join(map(_device_word, value.split()[:12]))
        case "step":
            return value if STEP.fullmatch(value) else None
        case "model":
            return value if value == DEMO else None
    return None


def shown_version(text: str) -> str:
    """A version, without a label that somebody gave to a build of their own."""
    match = VERSION.match(text)
    return HIDDEN if match is None else match[0] if match[0] == text else f"{match[0]}{HIDDEN}"


def _device_word(word: str) -> str:
    return word if word in DEVICE_WORDS or DEVICE_NUMBER.fullmatch(word) else HIDDEN


def _records(value: Any, texts: KnownTexts) -> Any:
    if isinstance(value, msgspec.Struct):
        return shown_record(value, texts)
    if isinstance(value, dict):
        return {name: _records(item, texts) for name, item in value.items() if texts.is_word(str(name))}
    return None
