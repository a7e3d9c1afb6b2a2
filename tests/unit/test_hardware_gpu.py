"""The NVML reader and the telemetry sampler over recorded answers of drivers, and of machines without one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pynvml
import pytest
from click.testing import CliRunner

from tuner_tui.cli.doctor import doctor
from tuner_tui.hardware.amd import read_amd_gpus, torch_is_for_amd
from tuner_tui.hardware.doctor import check_gpus
from tuner_tui.hardware.free_memory import FreeMemory, choose_free_memory
from tuner_tui.hardware.gpu import GpuProcess, GpuReader, GpuReport, GpuSnapshot, nvidia_gpu_on_the_bus
from tuner_tui.hardware.system import RaplCounter, SystemSnapshot
from tuner_tui.hardware.telemetry import (
    EnergyMeter,
    TelemetrySample,
    TelemetrySampler,
    first_visible_gpu,
    memory_of,
)
from tuner_tui.ui.hardware_words import hardware_line

GIB = 1024**3
OLLAMA = 2**22 + 1  # above Linux's highest process number, so that no real process answers to it

RTX_4070: dict[str, Any] = {
    "nvmlDeviceGetName": "NVIDIA GeForce RTX 4070",
    "nvmlDeviceGetUUID": "GPU-8f6c",
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=12 * GIB, used=1 * GIB, free=11 * GIB),
    "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=0, memory=0),
    "nvmlDeviceGetTemperature": 41,
    "nvmlDeviceGetPowerUsage": 31_500,
    "nvmlDeviceGetEnforcedPowerLimit": 200_000,
    "nvmlDeviceGetFanSpeed": 0,
    "nvmlDeviceGetClockInfo": 2475,
    "nvmlDeviceGetCurrentClocksEventReasons": 0x1 | 0x4 | 0x20 | 0x40,
    "nvmlDeviceGetTotalEnergyConsumption": 5_000_000,
    "nvmlDeviceGetCudaComputeCapability": (8, 9),
    "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=OLLAMA, usedGpuMemory=900_000_000)],
    "nvmlDeviceGetGraphicsRunningProcesses": [SimpleNamespace(pid=OLLAMA, usedGpuMemory=100_000_000)],
}
DRIVER: dict[str, Any] = {
    "nvmlInit": None,
    "nvmlShutdown": None,
    "nvmlSystemGetDriverVersion": "580.95.05",
    "nvmlSystemGetCudaDriverVersion_v2": 13000,
    "nvmlSystemGetProcessName": "/usr/local/bin/ollama",
}
WSL2_CARD = {
    **RTX_4070,
    "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=OLLAMA, usedGpuMemory=None)],
    "nvmlDeviceGetGraphicsRunningProcesses": pynvml.NVMLError_NotSupported(),
    "nvmlDeviceGetFanSpeed": pynvml.NVMLError_NotSupported(),
    "nvmlDeviceGetPowerUsage": 0,
    "nvmlDeviceGetTotalEnergyConsumption": 0,
    "nvmlDeviceGetTemperature": 0xFFFFFFFF,
}
LOST = pynvml.NVMLError_GpuIsLost()


class RecordedNvml:
    """Answers as one driver gave them: pynvml's own constants and errors, recorded values for its calls."""

    def __init__(self, *cards: dict[str, Any] | Exception, **driver: Any) -> None:
        self.cards = cards
        self.driver = {**DRIVER, **driver}
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        real = getattr(pynvml, name)
        if not name.startswith("nvml") or not callable(real):
            return real
        return lambda *arguments: self._answer(name, *arguments)

    def _answer(self, call: str, *arguments: Any) -> Any:
        self.calls.append(call)
        if call == "nvmlDeviceGetCount":
            return len(self.cards)
        if call == "nvmlDeviceGetHandleByIndex":
            gpu = self.cards[arguments[0]]
            if isinstance(gpu, Exception):
                raise gpu
            return gpu
        recorded = arguments[0] if call.startswith("nvmlDevice") else self.driver
        answer = recorded.get(call, pynvml.NVMLError_NotSupported())
        if call == "nvmlDeviceGetMigDeviceHandleByIndex" and isinstance(answer, list):
            answer = answer[arguments[1]]
        if isinstance(answer, Exception):
            raise answer
        return answer


@pytest.fixture
def plain_linux(tmp_path: Path) -> Path:
    """A file root that is no container, no WSL, and has one NVIDIA card on its bus."""
    device = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    device.mkdir(parents=True)
    (device / "vendor").write_text("0x10de\n")
    (device / "class").write_text("0x030000\n")
    return tmp_path


def read(root: Path, *cards: dict[str, Any] | Exception, **driver: Any) -> GpuReport:
    with GpuReader(RecordedNvml(*cards, **driver), root) as reader:
        return reader.read()


def test_a_desktop_card_is_read_whole(plain_linux: Path) -> None:
    report = read(plain_linux, RTX_4070)
    assert (report.driver_version, report.cuda_driver_version) == ("580.95.05", "13.0")
    assert report.problem is None
    assert report.gpus == (
        GpuSnapshot(
            index=0,
            name="NVIDIA GeForce RTX 4070",
            uuid="GPU-8f6c",
            memory_total_bytes=12 * GIB,
            memory_used_bytes=1 * GIB,
            memory_free_bytes=11 * GIB,
            utilisation_percent=0,
            temperature_celsius=41,
            power_watts=31.5,
            power_limit_watts=200.0,
            fan_percent=0,
            sm_clock_mhz=2475,
            memory_clock_mhz=2475,
            throttle_reasons=("power cap", "thermal"),
            energy_millijoules=5_000_000,
            compute_capability=(8, 9),
            processes=(GpuProcess(pid=OLLAMA, name="ollama", memory_bytes=900_000_000),),
        ),
    )


def test_a_card_that_supports_nothing_is_unknown_and_not_zero(plain_linux: Path) -> None:
    report = read(plain_linux, {})
    assert report.gpus == (GpuSnapshot(index=0),)
    assert report.problem is None


def test_sentinels_and_impossible_zeros_are_unknown(plain_linux: Path) -> None:
    gpu = read(plain_linux, WSL2_CARD).gpus[0]
    assert (gpu.power_watts, gpu.energy_millijoules, gpu.temperature_celsius) == (None, None, None)
    assert gpu.processes == (GpuProcess(pid=OLLAMA, name="ollama", memory_bytes=None),)


def test_a_card_split_with_mig_keeps_its_processes_unknown(plain_linux: Path) -> None:
    refused = pynvml.NVMLError_NoPermission()
    gpu = read(plain_linux, {**RTX_4070, "nvmlDeviceGetComputeRunningProcesses": refused}).gpus[0]
    assert gpu.processes is None
    assert gpu.memory_total_bytes == 12 * GIB


SLICED_A100: dict[str, Any] = {
    "nvmlDeviceGetName": "NVIDIA A100-SXM4-80GB",
    "nvmlDeviceGetUUID": "GPU-3d1a",
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=80 * GIB, used=50 * GIB, free=30 * GIB),
    "nvmlDeviceGetMigMode": [1, 1],
    "nvmlDeviceGetMaxMigDeviceCount": 7,
    "nvmlDeviceGetMigDeviceHandleByIndex": [
        {
            "nvmlDeviceGetUUID": f"MIG-{name}",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(
                total=20 * GIB, used=held * GIB, free=(20 - held) * GIB
            ),
        }
        for name, held in (("aa", 1), ("bb", 15))
    ]
    + [pynvml.NVMLError_NotFound()] * 5,
    "nvmlDeviceGetComputeRunningProcesses": pynvml.NVMLError_NoPermission(),
}
LAPTOP: dict[str, Any] = {
    **RTX_4070,
    "nvmlDeviceGetName": "NVIDIA GeForce RTX 4060 Laptop GPU",
    "nvmlDeviceGetPowerUsage": pynvml.NVMLError_NotSupported(),
    "nvmlDeviceGetEnforcedPowerLimit": pynvml.NVMLError_NotSupported(),
    "nvmlDeviceGetTotalEnergyConsumption": pynvml.NVMLError_NotSupported(),
    "nvmlDeviceGetFanSpeed": pynvml.NVMLError_NotSupported(),
}
SPARK: dict[str, Any] = {
    "nvmlDeviceGetName": "NVIDIA GB10",
    "nvmlDeviceGetUUID": "GPU-b10c",
    "nvmlDeviceGetMemoryInfo": pynvml.NVMLError_NotSupported(),
    "nvmlDeviceGetComputeRunningProcesses": [SimpleNamespace(pid=OLLAMA, usedGpuMemory=900_000_000)],
}
"""A DGX Spark, whose card uses the system's memory."""
RAM = SystemSnapshot(cpu_count=4, ram_total_bytes=120 * GIB, ram_available_bytes=100 * GIB)


def free_on(root: Path, *cards: dict[str, Any] | Exception, visible: str | None = None) -> FreeMemory:
    return choose_free_memory(read(root, *cards), RAM, visible=visible)


@pytest.mark.parametrize(("visible", "gib"), [(None, 19), ("MIG-bb", 5), ("0", 19)])
def test_of_a_split_card_a_slice_counts(plain_linux: Path, visible: str | None, gib: int) -> None:
    free = free_on(plain_linux, SLICED_A100, visible=visible)
    assert (free.where, free.free_bytes, free.total_bytes) == (
        "NVIDIA A100-SXM4-80GB (MIG)",
        gib * GIB,
        20 * GIB,
    )
    assert "MIG slice of 2" in free.note and "unknown" in free.note


def test_a_split_card_without_slices_has_no_memory_to_tell(plain_linux: Path) -> None:
    free = free_on(plain_linux, {**SLICED_A100, "nvmlDeviceGetMaxMigDeviceCount": 0})
    assert (free.free_bytes, free.holders) == (None, ()) and "without a slice" in free.note
    assert read(plain_linux, {**RTX_4070, "nvmlDeviceGetMigMode": [0, 0]}).gpus[0].slices is None


def test_of_several_cards_the_visible_one_counts(plain_linux: Path) -> None:
    other = {**RTX_4070, "nvmlDeviceGetName": "NVIDIA RTX A6000", "nvmlDeviceGetUUID": "GPU-aa77"}
    assert free_on(plain_linux, RTX_4070, other).where == "NVIDIA GeForce RTX 4070"
    assert free_on(plain_linux, RTX_4070, other, visible="1").where == "NVIDIA RTX A6000"
    assert free_on(plain_linux, RTX_4070, other, visible="GPU-aa77,0").where == "NVIDIA RTX A6000"
    assert "one of 2 GPUs" in free_on(plain_linux, RTX_4070, other).note
    hidden = free_on(plain_linux, RTX_4070, other, visible="")
    assert (hidden.is_gpu, hidden.where) == (False, "RAM") and "hides" in hidden.note


def test_a_laptop_without_power_readings_is_otherwise_known(plain_linux: Path) -> None:
    gpu = read(plain_linux, LAPTOP).gpus[0]
    assert (gpu.power_watts, gpu.power_limit_watts, gpu.energy_millijoules, gpu.fan_percent) == (None,) * 4
    assert gpu.temperature_celsius == 41
    meter = EnergyMeter()
    meter.add_gpu(gpu, 1.0)
    meter.add_gpu(gpu, 2.0)
    assert meter.energy_wh is None
    free = free_on(plain_linux, LAPTOP)
    assert (free.free_bytes, free.holders, free.note) == (11 * GIB, (("ollama", 900_000_000),), "")


def test_unified_memory_is_the_systems(plain_linux: Path) -> None:
    assert read(plain_linux, SPARK).gpus[0].memory_total_bytes is None
    free = free_on(plain_linux, SPARK)
    assert (free.is_gpu, free.where, free.free_bytes) == (True, "NVIDIA GB10", 100 * GIB)
    assert "shared with the rest" in free.note
    unnamed = free_on(plain_linux, {**SPARK, "nvmlDeviceGetName": "NVIDIA Next"})
    assert unnamed.free_bytes is None


N1X: dict[str, Any] = {
    **SPARK,
    "nvmlDeviceGetName": "NVIDIA N1X",
    "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=8128 << 20, used=1 << 30, free=7104 << 20),
    "nvmlDeviceGetCudaComputeCapability": (12, 1),
}
"""A laptop's chip, whose driver reports the part of the system's memory that it reserves."""


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"nvmlDeviceGetCudaComputeCapability": pynvml.NVMLError_NotSupported()},
        {"nvmlDeviceGetName": "NVIDIA Laptop GPU"},  # of a name that says nothing
        {"nvmlDeviceGetName": "Orin (nvgpu)", "nvmlDeviceGetCudaComputeCapability": (8, 7)},
    ],
)
def test_a_part_of_a_shared_pool_is_not_the_gpus_memory(plain_linux: Path, changes: dict[str, Any]) -> None:
    report = read(plain_linux, {**N1X, **changes})
    assert report.gpus[0].memory_total_bytes == 8128 << 20  # what the driver says
    free = choose_free_memory(report, RAM)
    assert (free.is_gpu, free.free_bytes, free.total_bytes) == (True, 100 * GIB, 120 * GIB)
    assert "shared with the rest" in free.note
    line = hardware_line(report, RAM)
    assert "shares the RAM" in line and "8.5 GB" not in line
    [checked] = [check for check in check_gpus(report) if check.name == "GPU 0"]
    assert "shares the system's memory" in checked.value


def test_an_8_gb_gpu_of_its_own_memory_stays_one(plain_linux: Path) -> None:
    own = SimpleNamespace(total=8 * GIB, used=GIB, free=7 * GIB)
    free = free_on(plain_linux, {**RTX_4070, "nvmlDeviceGetMemoryInfo": own})
    assert (free.free_bytes, free.total_bytes) == (7 * GIB, 8 * GIB)


def test_who_holds_memory_is_unknown_on_wsl2_and_said_so(plain_linux: Path) -> None:
    free = free_on(plain_linux, WSL2_CARD)
    assert (free.free_bytes, free.holders, free.note) == (11 * GIB, (), "what uses the rest: unknown")


@pytest.mark.parametrize(
    "error", [pynvml.NVMLError_LibRmVersionMismatch(), pynvml.NVMLError_DriverNotLoaded()]
)
def test_a_card_whose_driver_does_not_start_leaves_main_memory_and_a_word(
    plain_linux: Path, error: Exception
) -> None:
    free = choose_free_memory(read(plain_linux, nvmlInit=error), RAM)
    assert (free.is_gpu, free.where) == (False, "RAM") and "does not respond" in free.note


def test_no_driver_and_no_card_is_plain_main_memory(tmp_path: Path) -> None:
    free = choose_free_memory(read(tmp_path, nvmlInit=pynvml.NVMLError_LibraryNotFound()), RAM)
    assert (free.is_gpu, free.note) == (False, "")


def test_amd_cards_count_for_a_torch_that_is_built_for_them(tmp_path: Path) -> None:
    for number, (vendor, total) in enumerate((("0x1002", 512 << 20), ("0x1002", 16 * GIB), ("0x8086", 1))):
        device = tmp_path / f"sys/class/drm/card{number}/device"
        device.mkdir(parents=True)
        (device / "vendor").write_text(vendor + "\n")
        (device / "mem_info_vram_total").write_text(f"{total}\n")
        (device / "mem_info_vram_used").write_text(f"{total // 4}\n")
    (tmp_path / "sys/class/drm/card1/device/product_name").write_text("AMD Radeon RX 7800 XT\n")
    cards = read_amd_gpus(tmp_path)
    assert [each.memory_total_bytes for each in cards] == [16 * GIB, 512 << 20]
    nothing = read(tmp_path, nvmlInit=pynvml.NVMLError_LibraryNotFound())
    free = choose_free_memory(nothing, RAM, amd=cards)
    assert (free.is_gpu, free.where, free.free_bytes) == (True, "AMD Radeon RX 7800 XT", 12 * GIB)
    assert "unknown" in free.note
    assert choose_free_memory(nothing, RAM).where == "RAM"
    assert torch_is_for_amd("2.13.0+rocm6.4") and not torch_is_for_amd("2.13.0+cu130")
    assert not torch_is_for_amd(None)


@pytest.mark.parametrize(
    ("file", "text"), [(".dockerenv", ""), ("proc/sys/kernel/osrelease", "6.6.87-microsoft-standard-WSL2")]
)
def test_an_empty_process_list_says_nothing_in_a_container_or_wsl(
    plain_linux: Path, file: str, text: str
) -> None:
    idle = {**RTX_4070, "nvmlDeviceGetComputeRunningProcesses": []}
    idle["nvmlDeviceGetGraphicsRunningProcesses"] = []
    assert read(plain_linux, idle).gpus[0].processes == ()
    (plain_linux / file).parent.mkdir(parents=True, exist_ok=True)
    (plain_linux / file).write_text(text)
    assert read(plain_linux, idle).gpus[0].processes is None


def test_one_lost_card_does_not_hide_the_other(plain_linux: Path) -> None:
    report = read(plain_linux, LOST, RTX_4070)
    assert report.gpus[0] == GpuSnapshot(index=0)
    assert report.gpus[1].name == "NVIDIA GeForce RTX 4070"
    assert report.problem is not None and "GPU 0 does not answer (GPU is lost)" in report.problem


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (pynvml.NVMLError_LibraryNotFound(), "No NVIDIA driver is installed"),
        (pynvml.NVMLError_DriverNotLoaded(), "installed but not running"),
        (pynvml.NVMLError_LibRmVersionMismatch(), "updated while the old one is still running; restart"),
        (pynvml.NVMLError_NoPermission(), "/dev/nvidia*"),
        (pynvml.NVMLError_Unknown(), "does not start (Unknown Error)"),
    ],
)
def test_a_driver_that_does_not_start_is_explained(plain_linux: Path, error: Exception, words: str) -> None:
    report = read(plain_linux, nvmlInit=error)
    assert report.gpus == ()
    assert report.gpu_present is True
    assert report.problem is not None and words in report.problem


def test_a_driver_without_cards_is_explained(tmp_path: Path) -> None:
    report = read(tmp_path)
    assert report.problem is not None and "shows no GPU" in report.problem
    assert report.gpu_present is None


def test_nvml_opens_once_and_closes(plain_linux: Path) -> None:
    nvml = RecordedNvml(RTX_4070)
    reader = GpuReader(nvml, plain_linux)
    reader.read()
    reader.read()
    reader.close()
    reader.close()
    assert (nvml.calls.count("nvmlInit"), nvml.calls.count("nvmlShutdown")) == (1, 1)
    assert reader.read().problem == "The GPU reader is closed."


def test_other_makers_cards_are_not_nvidia_cards(plain_linux: Path) -> None:
    assert nvidia_gpu_on_the_bus(plain_linux) is True
    (plain_linux / "sys/bus/pci/devices/0000:01:00.0/vendor").write_text("0x1002\n")
    assert nvidia_gpu_on_the_bus(plain_linux) is False


# -- telemetry ----------------------------------------------------------------------------------------------


class Clock:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def busy_child() -> Iterator[int]:
    """A real process with a real child."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'x = 1\\nwhile x: x += 1'])"
    child = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    yield child.pid
    os.killpg(child.pid, 9)
    child.wait()


def test_a_sample_tells_the_run_from_the_others(plain_linux: Path, busy_child: int) -> None:
    processes = [
        SimpleNamespace(pid=OLLAMA, usedGpuMemory=1 * GIB),
        SimpleNamespace(pid=busy_child, usedGpuMemory=5 * GIB),
    ]
    gpu = {
        **RTX_4070,
        "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=12 * GIB, used=7 * GIB, free=5 * GIB),
        "nvmlDeviceGetComputeRunningProcesses": processes,
        "nvmlDeviceGetGraphicsRunningProcesses": [],
    }
    reader = GpuReader(RecordedNvml(RTX_4070, gpu), plain_linux)
    sampler = TelemetrySampler(busy_child, reader=reader, root=plain_linux)
    sample = sampler.sample()
    sampler.close()
    assert (sample.gpu_memory_used_bytes, sample.gpu_memory_free_bytes) == (7 * GIB, 5 * GIB)
    assert (sample.gpu_memory_run_bytes, sample.gpu_memory_others_bytes) == (5 * GIB, 2 * GIB)
    assert sample.throttle_reasons == ("power cap", "thermal")


def test_a_run_without_a_card_leaves_the_gpu_out_of_the_line(tmp_path: Path, busy_child: int) -> None:
    reader = GpuReader(RecordedNvml(nvmlInit=pynvml.NVMLError_LibraryNotFound()), tmp_path)
    sampler = TelemetrySampler(busy_child, reader=reader, root=tmp_path)
    first = sampler.sample()
    deadline = time.monotonic() + 20
    later = first
    while not (later.run_cpu_percent or 0) > 0 and time.monotonic() < deadline:
        time.sleep(0.2)
        later = sampler.sample()
    assert first.cpu_percent is None and first.run_cpu_percent is None
    assert later.run_cpu_percent is not None and 0 < later.run_cpu_percent <= 110
    assert later.run_ram_bytes is not None and later.run_ram_bytes > 5_000_000
    line = msgspec.json.encode(later)
    assert b"gpu" not in line and b"energy" not in line
    assert msgspec.json.decode(line, type=TelemetrySample) == later


def test_a_gone_run_is_unknown(tmp_path: Path) -> None:
    reader = GpuReader(RecordedNvml(nvmlInit=pynvml.NVMLError_LibraryNotFound()), tmp_path)
    sampler = TelemetrySampler(OLLAMA, reader=reader, root=tmp_path)
    sampler.sample()
    sample = sampler.sample()
    assert (sample.run_ram_bytes, sample.run_cpu_percent) == (None, None)
    assert sample.ram_total_bytes is not None


def test_energy_goes_on_where_the_last_keeper_left_it(plain_linux: Path) -> None:
    clock, gpu = Clock(), dict(RTX_4070)
    reader = GpuReader(RecordedNvml(gpu), plain_linux)
    sampler = TelemetrySampler(os.getpid(), 0, 2.0, reader=reader, root=plain_linux, clock=clock)
    assert (sampler.sample().energy_wh, sampler.sample().energy_source) == (2.0, "gpu counter")
    clock.now += 1
    gpu["nvmlDeviceGetTotalEnergyConsumption"] += 3_600_000
    assert sampler.sample().energy_wh == 3.0


def gpu(energy: int | None = None, power: float | None = None) -> GpuSnapshot:
    return GpuSnapshot(index=0, energy_millijoules=energy, power_watts=power)


def test_power_over_time_stands_in_for_a_missing_counter() -> None:
    meter = EnergyMeter()
    for now, watts in ((0.0, 100.0), (1.0, 300.0), (2.0, 300.0)):
        meter.add_gpu(gpu(power=watts), now)
    assert meter.energy_wh == pytest.approx((200 + 300) / 3600)
    assert meter.source == "gpu power"


def test_a_counter_that_starts_again_takes_nothing_back() -> None:
    meter = EnergyMeter()
    meter.add_gpu(gpu(energy=9_000_000, power=100.0), 0.0)
    meter.add_gpu(gpu(energy=9_100_000, power=100.0), 1.0)
    meter.add_gpu(gpu(energy=5_000, power=100.0), 2.0)
    meter.add_gpu(gpu(energy=105_000, power=100.0), 3.0)
    assert meter.energy_wh == pytest.approx(300 / 3600)
    assert meter.source == "gpu counter+gpu power"


def test_a_counter_that_pauses_is_not_counted_twice() -> None:
    meter = EnergyMeter()
    for second, energy in enumerate((1_000_000, None, 1_200_000, 1_300_000)):
        meter.add_gpu(gpu(energy=energy, power=100.0), float(second))
    assert meter.energy_wh == pytest.approx(300 / 3600)


def test_processor_counters_wrap() -> None:
    meter = EnergyMeter()
    for microjoules in (250_000_000, 262_000_000, 10_000_000):
        counter = RaplCounter(microjoules=microjoules, wraps_at_microjoules=262_143_328)
        meter.add_packages({"intel-rapl:0": counter})
    assert meter.energy_wh == pytest.approx((12 + 10.143328) / 3600)
    assert meter.source == "cpu package"


def test_no_source_means_no_energy() -> None:
    meter = EnergyMeter()
    meter.add_gpu(gpu(), 0.0)
    meter.add_packages({})
    assert (meter.energy_wh, meter.source) == (None, None)


def test_memory_of_a_run_is_unknown_where_numbers_differ() -> None:
    theirs = GpuProcess(pid=1, memory_bytes=5)
    gpu = GpuSnapshot(index=0, processes=(theirs,))
    assert memory_of(gpu, [2]) == 0
    assert memory_of(gpu, [2], driver_sees_our_pids=False) is None
    assert memory_of(GpuSnapshot(index=0), [2]) is None
    assert memory_of(GpuSnapshot(index=0, processes=(theirs, GpuProcess(pid=2))), [1, 2]) is None


@pytest.mark.parametrize(
    ("visible", "index"),
    [(None, 0), ("1", 1), ("1,0", 1), ("GPU-bb", 1), ("", None), ("-1", None), ("7", None)],
)
def test_the_first_visible_card(visible: str | None, index: int | None) -> None:
    report = GpuReport(gpus=(GpuSnapshot(index=0, uuid="GPU-aa11"), GpuSnapshot(index=1, uuid="GPU-bb22")))
    gpu = first_visible_gpu(report, visible)
    assert (gpu.index if gpu else None) == index


@pytest.mark.parametrize(
    "missing",
    [
        ("nvmlDeviceGetComputeRunningProcesses",),
        ("nvmlDeviceGetGraphicsRunningProcesses",),
        ("nvmlDeviceGetUUID",),
        ("nvmlDeviceGetMemoryInfo", "nvmlDeviceGetName"),
    ],
    ids=str,
)
def test_a_driver_too_old_for_a_call_is_named(plain_linux: Path, missing: tuple[str, ...]) -> None:
    """pynvml's error for it is no NVMLError."""
    lacking = {call: pynvml.NVMLLibraryMismatchError("Unversioned function called") for call in missing}
    report = read(plain_linux, RTX_4070 | lacking, nvmlSystemGetDriverVersion="418.67")
    assert report.problem is not None
    assert "driver 418.67 is too old" in report.problem and missing[0] in report.problem
    assert len(report.gpus) == 1
    [_, check] = check_gpus(report)
    assert (check.status, check.value) == ("problem", "too old")


def test_the_doctor_says_that_a_driver_is_too_old(
    plain_linux: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With pynvml's own wrapper over a library that lacks the newest version of a call."""
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def lacks(handle: Any) -> Any:
        raise pynvml.NVMLError_FunctionNotFound()

    nvml = RecordedNvml(RTX_4070)
    vars(nvml)["nvmlDeviceGetComputeRunningProcesses"] = pynvml.throwOnVersionMismatch(lacks)
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    outcome = CliRunner().invoke(doctor, [])
    assert "too old" in outcome.output
    assert "itself failed" not in outcome.output


def test_a_driver_too_old_to_begin_is_named(plain_linux: Path) -> None:
    for error in (pynvml.NVMLError_FunctionNotFound(), pynvml.NVMLLibraryMismatchError("x")):
        assert "is too old" in (read(plain_linux, RTX_4070, nvmlInit=error).problem or "")
