"""Checks whether this machine is ready to train, without loading torch."""

from __future__ import annotations

import os
import platform
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from tuner_tui.files import barred, is_folder
from tuner_tui.hardware.gpu import TOO_OLD, GpuReport, GpuSnapshot
from tuner_tui.hardware.survival import Survival, logout_survival
from tuner_tui.hardware.system import SystemSnapshot, disk_free_bytes, read_system
from tuner_tui.hardware.torch_report import TorchReport
from tuner_tui.python import interpreter
from tuner_tui.versions import installed_version

Status = Literal["ok", "note", "warning", "problem"]

PACKAGE = "tuner-tui"
DATA_PARTS = ("runs", "queue", "notes", "feedback")
"""Folders in the data folder that each command may need."""
GIGABYTE = 1_000_000_000
DISK_WARNING_BYTES = 10 * GIGABYTE
DISK_PROBLEM_BYTES = 2 * GIGABYTE
RAM_NOTE_BYTES = 8 * GIGABYTE
RAM_WARNING_BYTES = 2 * GIGABYTE
BF16_CAPABILITY = (8, 0)
OFFLINE_WORDS = frozenset({"1", "on", "yes", "true"})


class Check(msgspec.Struct, frozen=True):
    """One check with its result, and what to do about it."""

    name: str
    status: Status
    value: str
    detail: str = ""
    remedy: str = ""
    """A sentence, and below it each command or setting on a line of its own, ready to copy."""


class HubState(msgspec.Struct, frozen=True):
    """The state of access to the Hugging Face Hub; never the token itself."""

    logged_in: bool
    offline: bool
    cache_folder: Path


def run_checks(
    gpu: GpuReport, torch: TorchReport | None, data_folder: Path, cache_folder: Path
) -> list[Check]:
    """All checks on this machine; without a torch report, without those of torch."""
    hub = read_hub_state()
    return [
        check_python(),
        *check_libraries(own_requirements()),
        *check_gpus(gpu),
        *(check_torch(torch, gpu) if torch is not None else []),
        *check_system(read_system()),
        check_folder("Data folder", data_folder, DATA_PARTS),
        check_folder("Cache folder", cache_folder),
        check_folder("Model downloads", hub.cache_folder),
        check_hub(hub),
        check_survival(logout_survival()),
    ]


def first_look(gpu: GpuReport, data_folder: Path) -> list[Check]:
    """Quick checks, without torch or the Hub: enough to warn before a first run."""
    return [
        *check_libraries(own_requirements()),
        *check_gpus(gpu),
        *check_torch_version(gpu),
        *check_system(read_system()),
        check_folder("Data folder", data_folder, DATA_PARTS),
        check_survival(logout_survival()),
    ]


def check_torch_version(gpu: GpuReport, version: str | None = None) -> list[Check]:
    """Detect a CPU-only build on a machine with a GPU by its version (2.9.0+cpu), without loading it."""
    version = version or installed_version("torch") or ""
    if gpu.gpus and version.endswith("+cpu"):
        value = f"{version} cannot use the GPU: CPU-only build"
        return [Check("torch", "problem", value, "", _torch_remedy(gpu))]
    return []


def is_ready(checks: Iterable[Check]) -> bool:
    """Whether no check found a problem."""
    return all(check.status != "problem" for check in checks)


def check_python() -> Check:
    """The running Python, and its path."""
    return Check("Python", "ok", platform.python_version(), detail=interpreter())


def own_requirements() -> list[str] | None:
    """The package's requirements, without extras; `None` in a checkout."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        return requires(PACKAGE) or []
    except PackageNotFoundError:
        return None


def check_libraries(requirements: Sequence[str] | None) -> list[Check]:
    """Installed versions against the package's requirements, from metadata alone."""
    if requirements is None:
        value = "not compared: tuner-tui runs from a checkout"
        return [Check("Libraries", "note", value, remedy="Install it:\npip install -e .")]
    from importlib.metadata import PackageNotFoundError, version

    from packaging.requirements import Requirement

    faults: list[Check] = []
    fine: list[str] = []
    for requirement in map(Requirement, requirements):
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(requirement.name)
        except PackageNotFoundError:
            faults.append(_library_fault(requirement.name, "not installed", str(requirement.specifier)))
            continue
        if requirement.specifier.contains(installed, prereleases=True):
            fine.append(f"{requirement.name} {installed}")
        else:
            faults.append(_library_fault(requirement.name, installed, str(requirement.specifier)))
    if faults:
        return faults
    return [Check("Libraries", "ok", f"{len(fine)} as required", detail=", ".join(fine))]


def _library_fault(name: str, installed: str, wanted: str) -> Check:
    remedy = f'Install it:\npip install "{name}{wanted}"'
    return Check(name, "problem", installed, detail=f"tuner-tui needs {wanted or 'it'}", remedy=remedy)


def check_gpus(report: GpuReport) -> list[Check]:
    """Each GPU with its driver; a broken driver is a problem only where there is a GPU."""
    checks = [_check_gpu(gpu, report) for gpu in report.gpus]
    if report.problem is not None and (report.gpus or report.gpu_present):
        checks.append(Check("GPU driver", "problem", _driver_state(report.problem), remedy=report.problem))
    elif not report.gpus:
        value = "none found; small models train on the CPU"
        checks.append(Check("GPU", "note", value, detail=report.problem or ""))
    return checks


def _driver_state(problem: str) -> str:
    return "too old" if TOO_OLD in problem else "does not work"


def _check_gpu(gpu: GpuSnapshot, report: GpuReport) -> Check:
    name = f"GPU {gpu.index}"
    if gpu.name is None and gpu.memory_total_bytes is None:
        return Check(name, "problem", "does not answer")
    if gpu.shares_memory:
        memory = "shares the system's memory"
    elif gpu.memory_total_bytes is None or gpu.memory_free_bytes is None:
        memory = "memory unknown"
    else:
        memory = f"{gigabytes(gpu.memory_free_bytes)} of {gigabytes(gpu.memory_total_bytes)} free"
    return Check(name, "ok", f"{gpu.name or 'unnamed'}, {memory}", detail=_gpu_detail(gpu, report))


def _gpu_detail(gpu: GpuSnapshot, report: GpuReport) -> str:
    facts = [
        f"driver {report.driver_version or 'unknown'}",
        f"CUDA up to {report.cuda_driver_version or 'unknown'}",
    ]
    if gpu.compute_capability is not None:
        facts.append(f"compute capability {_dotted(gpu.compute_capability)}")
    if gpu.processes is None:
        facts.append("which processes use it is unknown")
    for process in (gpu.processes or ())[:3]:
        amount = "unknown" if process.memory_bytes is None else gigabytes(process.memory_bytes)
        facts.append(f"{process.name or 'a process'} ({process.pid}) uses {amount}")
    return ", ".join(facts)


def check_torch(torch: TorchReport, gpu: GpuReport) -> list[Check]:
    """Check that the torch build fits the GPU."""
    if torch.error is not None:
        return [Check("torch", "problem", "does not work", torch.error, _torch_remedy(gpu))]
    return [_check_build(torch, gpu), *_check_bf16(torch, gpu), *_check_bitsandbytes(torch)]


def _check_build(torch: TorchReport, gpu: GpuReport) -> Check:
    version = f"{torch.torch_version or 'unknown version'}"
    if torch.rocm_build is not None:
        return Check("torch", "ok", f"{version}, for ROCm {torch.rocm_build}", detail=_device_names(torch))
    if torch.cuda_build is None:
        if not gpu.gpus:
            return Check("torch", "ok", f"{version}, for the CPU")
        return Check(
            "torch", "problem", f"{version} cannot use the GPU: CPU-only build", "", _torch_remedy(gpu)
        )
    value = f"{version}, for CUDA {torch.cuda_build}"
    if not gpu.gpus and not torch.cuda_available:
        return Check("torch", "ok", value)
    unsupported = [
        device for device in gpu.gpus if not has_code_for(torch.arch_list, device.compute_capability)
    ]
    if unsupported:
        first = unsupported[0]
        detail = (
            f"it has no code for {first.name or 'this GPU'} (sm_{_joined(first.compute_capability)}), "
            f"only for {', '.join(torch.arch_list)}"
        )
        return Check("torch", "problem", f"{value} cannot use the GPU", detail, _torch_remedy(gpu))
    if not torch.cuda_available:
        detail = f"torch sees no GPU; the driver runs CUDA up to {gpu.cuda_driver_version or 'unknown'}"
        return Check("torch", "problem", f"{value} cannot use the GPU", detail, _torch_remedy(gpu))
    return Check("torch", "ok", value, detail=_device_names(torch))


def _check_bf16(torch: TorchReport, gpu: GpuReport) -> Iterator[Check]:
    for device in gpu.gpus:
        if not device.compute_capability or device.compute_capability >= BF16_CAPABILITY:
            continue
        detail = f"{device.name or 'the GPU'} has no bf16; fp16 will be used"
        yield Check(f"bf16 on GPU {device.index}", "note", "not on this GPU", detail)
    if not gpu.gpus and not torch.devices:
        yield Check("bf16", "ok" if torch.cpu_bf16_fast else "note", _cpu_bf16_words(torch))


def _cpu_bf16_words(torch: TorchReport) -> str:
    return f"{'fast' if torch.cpu_bf16_fast else 'slow'} on this CPU"


def _check_bitsandbytes(torch: TorchReport) -> Iterator[Check]:
    if torch.bitsandbytes == "ok":
        yield Check("bitsandbytes", "ok", "works (8-bit and 4-bit bases)")
    elif torch.bitsandbytes is not None:
        remedy = "Reinstall it:\npip install --force-reinstall --no-deps bitsandbytes"
        value = "does not work: no 8-bit or 4-bit bases"
        yield Check("bitsandbytes", "warning", value, torch.bitsandbytes, remedy)


def has_code_for(arch_list: Sequence[str], capability: tuple[int, int] | None) -> bool:
    """Whether a build runs on a GPU: code of its generation and no newer, or code the driver compiles."""
    if capability is None or not arch_list:
        return True  # unknown is not a problem
    for architecture in arch_list:
        parts = re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", architecture)
        if parts is None:
            continue
        built = (int(parts[2]), int(parts[3]))
        one_generation = parts[1] == "sm" or parts[4] == "f"
        if built == capability:
            return True
        if parts[4] != "a" and built < capability and (built[0] == capability[0] or not one_generation):
            return True
    return False


def torch_wheel(cuda_driver: str | None, capability: tuple[int, int] | None) -> str | None:
    """The wheel index whose torch runs on this driver and GPU; `None` when the driver is too old for any.

    GPUs before Turing are only supported by the cu126 wheels, Blackwell only from cu128 on.
    """
    try:
        major, minor = (int(part) for part in (cuda_driver or "13.0").split("."))
    except ValueError:
        return "cu130"
    if major < 12:
        return None
    if capability is not None and capability < (7, 5):
        return "cu126"
    if major >= 13:
        return "cu130"
    if capability is None or capability < (10, 0):
        return "cu126"
    return "cu128" if minor >= 8 else None


def _torch_remedy(gpu: GpuReport) -> str:
    if not gpu.gpus:
        return "Reinstall torch:\npip install --force-reinstall torch"
    wheel = torch_wheel(gpu.cuda_driver_version, gpu.gpus[0].compute_capability)
    if wheel is None:
        return "Update the NVIDIA driver (580 or newer), then run the doctor again."
    command = f"pip install torch --index-url https://download.pytorch.org/whl/{wheel}"
    return f"Install the build for this GPU:\npip uninstall -y torch\n{command}"


def _device_names(torch: TorchReport) -> str:
    return ", ".join(device.name for device in torch.devices)


def check_system(system: SystemSnapshot) -> list[Check]:
    """Cores and memory this process may use."""
    limited = system.cpu_count_machine is not None and system.cpu_count < system.cpu_count_machine
    cores = f"{system.cpu_count} of {system.cpu_count_machine}" if limited else str(system.cpu_count)
    free, total = system.ram_available_bytes, system.ram_total_bytes
    status: Status = "ok"
    remedy = ""
    if free < RAM_WARNING_BYTES:
        status, remedy = "warning", "Close other programs before training; a model must fit here."
    elif total < RAM_NOTE_BYTES:
        status = "note"
    return [
        Check("Cores", "ok", f"{cores} usable"),
        Check("Memory", status, f"{gigabytes(free)} of {gigabytes(total)} free", remedy=remedy),
    ]


def check_folder(name: str, folder: Path, parts: Sequence[str] = ()) -> Check:
    """Check that a folder and its parts, where there are any, are writable, and that it has free space."""
    reason = why_not_writable(folder)
    place = folder
    for path in (folder / each for each in parts):
        if reason is None and is_folder(path) and not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            place, reason = path, f"{path.name} is not accessible to you"
    if reason is not None:
        remedy = "Change its owner, or choose another folder: TUNER_TUI_HOME for the app's own, HF_HOME for models."
        return Check(name, "problem", f"cannot be written: {reason}", barred(place) or str(place), remedy)
    return check_space(name, folder, disk_free_bytes(folder))


def check_space(name: str, folder: Path, free: int | None) -> Check:
    """Check that there is enough space for checkpoints and models."""
    if free is None:
        return Check(name, "note", "writable, free space unknown", str(folder))
    value = f"{gigabytes(free)} free"
    if free < DISK_PROBLEM_BYTES:
        return Check(name, "problem", value, str(folder), "Free some space: checkpoints would not fit.")
    if free < DISK_WARNING_BYTES:
        return Check(name, "warning", value, str(folder), "Free some space: a model can need more than this.")
    return Check(name, "ok", value, str(folder))


def why_not_writable(folder: Path) -> str | None:
    """Try to write a file in the folder, or in its nearest existing parent."""
    existing = next((path for path in (folder, *folder.absolute().parents) if path.exists()), Path("/"))
    try:
        with tempfile.TemporaryFile(dir=existing):
            return None
    except OSError as error:
        return error.strerror or str(error)


def read_hub_state() -> HubState:
    """Ask the Hub client whether there is a token; the token itself is not stored."""
    from huggingface_hub import constants, get_token

    offline = os.environ.get("HF_HUB_OFFLINE", "").lower() in OFFLINE_WORDS
    return HubState(get_token() is not None, offline, Path(constants.HF_HUB_CACHE))


def check_hub(hub: HubState) -> Check:
    """Login and offline mode."""
    login = "logged in" if hub.logged_in else "not logged in"
    if hub.offline:
        detail = "HF_HUB_OFFLINE is set: only models and data on this machine can be used"
        return Check("Hugging Face", "note", f"{login}, offline", detail)
    if hub.logged_in:
        return Check("Hugging Face", "ok", login)
    remedy = "Only gated models and uploads need it:\nhf auth login"
    return Check("Hugging Face", "note", login, remedy=remedy)


def check_survival(survival: Survival) -> Check:
    """Check whether runs continue after the window is closed."""
    values: dict[bool | None, tuple[Status, str]] = {
        True: ("ok", "a run continues"),
        False: ("warning", "a run ends"),
        None: ("note", "cannot tell"),
    }
    status, value = values[survival.survives]
    return Check("After logout", status, value, survival.reason, survival.remedy)


def gigabytes(count: int) -> str:
    """Decimal gigabytes, as the Hub and disks count them."""
    return f"{count / GIGABYTE:.1f} GB"


def _dotted(capability: tuple[int, int]) -> str:
    return f"{capability[0]}.{capability[1]}"


def _joined(capability: tuple[int, int] | None) -> str:
    return "".join(map(str, capability or ()))
