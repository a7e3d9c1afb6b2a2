"""NVIDIA GPUs through NVML: one frozen snapshot per GPU, `None` wherever the driver gives no answer."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import msgspec

from tuner_tui.hardware.system import ROOT, in_container, platform_kind

NOT_AVAILABLE = frozenset({0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF, -1})
"""NVML's values for unknown numbers (the largest unsigned 32 and 64 bit values)."""

THROTTLE_WORDS = (
    (0x004, "power cap"),
    (0x008, "hardware slowdown"),
    (0x020, "thermal"),
    (0x040, "thermal"),
    (0x080, "power brake"),
    (0x002, "clocks set manually"),
    (0x010, "sync boost"),
    (0x100, "display clocks"),
    (0x200, "board limit"),
    (0x400, "reliability"),
)
"""Texts of NVML's clock event bits, the most important first; idle (0x1) is not throttling."""


SHARING_NAMES = re.compile(r"\b(?:GB10|N1X?|Orin|Thor|Xavier|Tegra)\b")
"""In the names of GPUs that share the system's memory."""
SHARING_CAPABILITIES = frozenset({(5, 3), (6, 2), (7, 2), (8, 7), (10, 1), (11, 0), (12, 1)})
"""Compute capabilities that only such GPUs have: Tegra, Xavier, Orin, Thor, GB10 and N1X."""

TOO_OLD = "is too old"
"""Words in the problem of a driver that lacks calls."""


class GpuProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A process that uses memory on a GPU."""

    pid: int
    """As the driver sees it: inside a container this can be the host's number."""
    name: str | None = None
    memory_bytes: int | None = None


class GpuSlice(msgspec.Struct, frozen=True, kw_only=True):
    """One MIG slice of a GPU."""

    uuid: str | None = None
    memory_total_bytes: int | None = None
    memory_free_bytes: int | None = None


class GpuSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU at one moment; `None` means that the driver does not report it."""

    index: int
    """NVML's index, in PCI bus order; torch may number the GPUs differently."""
    name: str | None = None
    uuid: str | None = None
    memory_total_bytes: int | None = None
    memory_used_bytes: int | None = None
    """Used by processes; without the driver's own reserve if the driver reports it."""
    memory_free_bytes: int | None = None
    utilisation_percent: float | None = None
    temperature_celsius: float | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    fan_percent: float | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    throttle_reasons: tuple[str, ...] | None = None
    energy_millijoules: int | None = None
    """A counter since the driver was loaded."""
    compute_capability: tuple[int, int] | None = None
    processes: tuple[GpuProcess, ...] | None = None
    slices: tuple[GpuSlice, ...] | None = None
    """MIG slices, of which a process sees one; `None` for a GPU without MIG."""

    @property
    def shares_memory(self) -> bool:
        """Whether it uses the system's memory: a driver may report nothing then, or the part that it reserves."""
        return (
            SHARING_NAMES.search(self.name or "") is not None
            or self.compute_capability in SHARING_CAPABILITIES
        )


class GpuReport(msgspec.Struct, frozen=True, kw_only=True):
    """NVML's report about this machine, or the reason why there is none."""

    driver_version: str | None = None
    cuda_driver_version: str | None = None
    """The newest CUDA this driver can run, as "13.0"."""
    gpus: tuple[GpuSnapshot, ...] = ()
    problem: str | None = None
    """The problem and what to do, in one sentence."""
    gpu_present: bool | None = msgspec.field(default=None, name="card_present")
    """Whether there is an NVIDIA GPU at all, with or without driver; `None` where that is unknown."""


class GpuReader:
    """Opens NVML once and reads all GPUs on each call."""

    def __init__(self, nvml: Any = None, root: Path = ROOT) -> None:
        self._nvml = nvml
        self._root = root
        self._handles: dict[int, Any] = {}
        self._names: dict[int, str | None] = {}
        self._failures: dict[int, str] = {}
        self._missing_calls: list[str] = []
        """Calls that the driver's library lacks."""
        self._driver_sees_processes = not in_container(root) and platform_kind(root) != "wsl2"
        self._problem = self._open()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close NVML; later reads report the problem "closed"."""
        if self._problem is None:
            self._ask("nvmlShutdown")
            self._problem = "The GPU reader is closed."

    def read(self) -> GpuReport:
        """Every GPU now; a GPU that fails is listed with unknown values and does not hide the others."""
        if self._problem is not None:
            return GpuReport(problem=self._problem, gpu_present=self._gpu_on_the_bus)
        self._failures.clear()
        self._missing_calls.clear()
        count = self._ask("nvmlDeviceGetCount") or 0
        gpus = tuple(self._read_gpu(index) for index in range(count))
        self._forget_names(gpus)
        return GpuReport(
            driver_version=self._ask("nvmlSystemGetDriverVersion"),
            cuda_driver_version=_cuda_version(self._ask("nvmlSystemGetCudaDriverVersion_v2")),
            gpus=gpus,
            problem=self._gpus_problem(count),
            gpu_present=True if count else self._gpu_on_the_bus,
        )

    @cached_property
    def _gpu_on_the_bus(self) -> bool | None:
        return nvidia_gpu_on_the_bus(self._root)

    def _open(self) -> str | None:
        """Start NVML; returns the reason if it does not start."""
        if self._nvml is None:
            try:
                import pynvml
            except ImportError:
                return "The nvidia-ml-py package is missing; install it with: pip install nvidia-ml-py"
            self._nvml = pynvml
        try:
            self._nvml.nvmlInit()
        except self._nvml.NVMLLibraryMismatchError:
            return _too_old(None, "nvmlInit")
        except self._nvml.NVMLError as error:
            return self._explain(error)
        return None

    def _explain(self, error: Any) -> str:
        nvml = self._nvml
        known = {
            nvml.NVML_ERROR_LIBRARY_NOT_FOUND: (
                "No NVIDIA driver is installed here; with an NVIDIA GPU, install its driver (in a "
                "container, start it with --gpus all)."
            ),
            nvml.NVML_ERROR_DRIVER_NOT_LOADED: (
                "The NVIDIA driver is installed but not running; restart the machine, and reinstall the "
                "driver if that does not help (in a container, start it with --gpus all)."
            ),
            nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: (
                "The NVIDIA driver was updated while the old one is still running; restart the machine."
            ),
            nvml.NVML_ERROR_FUNCTION_NOT_FOUND: _too_old(None, "nvmlInit"),
            nvml.NVML_ERROR_NO_PERMISSION: (
                "This user may not use the NVIDIA GPU; get access to /dev/nvidia* (often group video)."
            ),
        }
        return known.get(error.value, f"The NVIDIA driver does not start ({error}); restart the machine.")

    def _gpus_problem(self, count: int) -> str | None:
        if self._missing_calls:
            return _too_old(self._ask("nvmlSystemGetDriverVersion"), self._missing_calls[0])
        if not count:
            return "The NVIDIA driver runs but shows no GPU; check its slot and power, or the container."
        if self._failures:
            index, reason = next(iter(self._failures.items()))
            return f"GPU {index} does not answer ({reason}); restart the machine; check its power and heat."
        return None

    def _ask(self, call: str, *arguments: Any) -> Any:
        """One NVML answer, or `None` where this GPU, driver or user gets none."""
        try:
            return getattr(self._nvml, call)(*arguments)
        except self._nvml.NVMLLibraryMismatchError:  # no NVMLError: the driver's library lacks the call
            self._missing_calls.append(call)
            return None
        except (self._nvml.NVMLError, UnicodeDecodeError):
            return None

    def _handle(self, index: int) -> Any:
        if index not in self._handles:
            self._handles[index] = self._nvml.nvmlDeviceGetHandleByIndex(index)
        return self._handles[index]

    def _read_gpu(self, index: int) -> GpuSnapshot:
        nvml = self._nvml
        try:
            handle = self._handle(index)
            uuid = nvml.nvmlDeviceGetUUID(handle)
        except nvml.NVMLLibraryMismatchError:
            self._missing_calls.append("nvmlDeviceGetUUID")
            return GpuSnapshot(index=index)
        except nvml.NVMLError as error:
            if error.value != nvml.NVML_ERROR_NOT_SUPPORTED:
                self._failures[index] = str(error)
                return GpuSnapshot(index=index)
            uuid = None
        memory = self._memory(handle)
        utilisation = self._ask("nvmlDeviceGetUtilizationRates", handle)
        return GpuSnapshot(
            index=index,
            name=self._ask("nvmlDeviceGetName", handle),
            uuid=uuid,
            memory_total_bytes=_above_zero(memory and memory.total),
            memory_used_bytes=_known(memory and memory.used),
            memory_free_bytes=_known(memory and memory.free),
            utilisation_percent=_known(utilisation and utilisation.gpu),
            temperature_celsius=_known(
                self._ask("nvmlDeviceGetTemperature", handle, nvml.NVML_TEMPERATURE_GPU)
            ),
            power_watts=_watts(self._ask("nvmlDeviceGetPowerUsage", handle)),
            power_limit_watts=_watts(self._ask("nvmlDeviceGetEnforcedPowerLimit", handle)),
            fan_percent=_known(self._ask("nvmlDeviceGetFanSpeed", handle)),
            sm_clock_mhz=_known(self._ask("nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_SM)),
            memory_clock_mhz=_known(self._ask("nvmlDeviceGetClockInfo", handle, nvml.NVML_CLOCK_MEM)),
            throttle_reasons=self._throttle_reasons(handle),
            energy_millijoules=_above_zero(self._ask("nvmlDeviceGetTotalEnergyConsumption", handle)),
            compute_capability=_pair(self._ask("nvmlDeviceGetCudaComputeCapability", handle)),
            processes=self._processes(handle),
            slices=self._slices(handle),
        )

    def _slices(self, handle: Any) -> tuple[GpuSlice, ...] | None:
        mode = self._ask("nvmlDeviceGetMigMode", handle)
        if mode is None or not mode[0]:
            return None
        slices = []
        for number in range(self._ask("nvmlDeviceGetMaxMigDeviceCount", handle) or 0):
            part = self._ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, number)
            if part is None:  # numbers may have gaps
                continue
            memory = self._memory(part)
            slices.append(
                GpuSlice(
                    uuid=self._ask("nvmlDeviceGetUUID", part),
                    memory_total_bytes=_above_zero(memory and memory.total),
                    memory_free_bytes=_known(memory and memory.free),
                )
            )
        return tuple(slices)

    def _memory(self, handle: Any) -> Any:
        """The newer call excludes the driver's reserve from used memory."""
        newer = self._ask("nvmlDeviceGetMemoryInfo", handle, self._nvml.nvmlMemory_v2)
        memory = newer if newer is not None else self._ask("nvmlDeviceGetMemoryInfo", handle)
        return memory if memory is not None and memory.total else None

    def _throttle_reasons(self, handle: Any) -> tuple[str, ...] | None:
        bits = self._ask("nvmlDeviceGetCurrentClocksEventReasons", handle)
        if bits is None:
            bits = self._ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle)
        if _known(bits) is None:
            return None
        return tuple(dict.fromkeys(word for bit, word in THROTTLE_WORDS if bits & bit))

    def _processes(self, handle: Any) -> tuple[GpuProcess, ...] | None:
        """The processes that use memory, compute and graphics; each process once."""
        compute = self._ask("nvmlDeviceGetComputeRunningProcesses", handle)
        if compute is None or not (compute or self._driver_sees_processes):
            return None  # in a container or WSL an empty list has no meaning
        used: dict[int, int | None] = {}
        for process in [*compute, *(self._ask("nvmlDeviceGetGraphicsRunningProcesses", handle) or [])]:
            memory = _known(process.usedGpuMemory)
            amounts = (used.get(process.pid), memory)
            used[process.pid] = max((amount for amount in amounts if amount is not None), default=None)
        return tuple(
            GpuProcess(pid=pid, name=self._process_name(pid), memory_bytes=memory)
            for pid, memory in sorted(used.items(), key=lambda item: -(item[1] or 0))
        )

    def _process_name(self, pid: int) -> str | None:
        """The short name of a process, read once while it stays on a GPU."""
        if pid not in self._names:
            import psutil

            try:
                self._names[pid] = psutil.Process(pid).name()
            except psutil.Error:
                path = self._ask("nvmlSystemGetProcessName", pid)
                self._names[pid] = (path.replace("\\", "/").split("/")[-1] or None) if path else None
        return self._names[pid]

    def _forget_names(self, gpus: tuple[GpuSnapshot, ...]) -> None:
        """Process IDs are reused, so a name is cached only while its process uses memory."""
        current = {process.pid for gpu in gpus for process in gpu.processes or ()}
        self._names = {pid: name for pid, name in self._names.items() if pid in current}


def read_gpus() -> GpuReport:
    """Every GPU once, for callers that do not keep a reader."""
    with GpuReader() as reader:
        return reader.read()


def nvidia_gpu_on_the_bus(root: Path = ROOT) -> bool | None:
    """Whether the PCI bus shows an NVIDIA GPU; `None` where the bus cannot be read."""
    devices = root / "sys/bus/pci/devices"
    if not devices.is_dir():
        return None
    for device in devices.iterdir():
        try:
            vendor = (device / "vendor").read_text().strip()
            kind = (device / "class").read_text().strip()
        except OSError:
            continue
        if vendor == "0x10de" and kind.startswith("0x03"):
            return True
    return False


def _too_old(version: str | None, call: str) -> str:
    return (
        f"The NVIDIA driver{f' {version}' if version else ''} {TOO_OLD}: it has no {call}, so values are missing; "
        "install a newer driver."
    )


def _known(value: Any) -> Any:
    """The value, or None if it is one of NVML's values for unknown."""
    return None if value is None or value in NOT_AVAILABLE else value


def _above_zero(value: Any) -> Any:
    """For values that cannot be zero on a working GPU, where zero means not counted."""
    return _known(value) or None


def _watts(milliwatts: int | None) -> float | None:
    known = _above_zero(milliwatts)
    return None if known is None else known / 1000


def _pair(capability: Any) -> tuple[int, int] | None:
    return None if capability is None else (int(capability[0]), int(capability[1]))


def _cuda_version(number: int | None) -> str | None:
    return f"{number // 1000}.{number % 1000 // 10}" if number else None
