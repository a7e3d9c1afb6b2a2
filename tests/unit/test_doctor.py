"""What the doctor concludes from what was measured, and the command around it."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from subprocess import run

import click
import msgspec
import psutil
import pytest
from click.testing import CliRunner

from tuner_tui.cli.doctor import check_lines, doctor, precision_lines, verdict
from tuner_tui.hardware.doctor import (
    Check,
    HubState,
    check_folder,
    check_gpus,
    check_hub,
    check_libraries,
    check_space,
    check_survival,
    check_system,
    check_torch,
    has_code_for,
    is_ready,
    torch_wheel,
)
from tuner_tui.hardware.gpu import GpuProcess, GpuReport, GpuSnapshot
from tuner_tui.hardware.survival import Survival
from tuner_tui.hardware.system import SystemSnapshot
from tuner_tui.hardware.torch_report import PrecisionReport, TorchDevice, TorchReport, read_torch_report

CARD = GpuSnapshot(
    index=0,
    name="NVIDIA GeForce RTX 4070",
    memory_total_bytes=12_880_000_000,
    memory_free_bytes=11_200_000_000,
    compute_capability=(8, 9),
    processes=(GpuProcess(pid=77, name="ollama", memory_bytes=900_000_000),),
)
MACHINE = GpuReport(driver_version="580.95", cuda_driver_version="13.0", gpus=(CARD,), gpu_present=True)
NO_GPU = GpuReport(problem="No NVIDIA driver is installed here.", gpu_present=False)
CUDA_TORCH = TorchReport(
    torch_version="2.13.0+cu130",
    cuda_build="13.0",
    arch_list=("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120"),
    cuda_available=True,
    devices=(TorchDevice(name="NVIDIA GeForce RTX 4070", capability=(8, 9), bf16=True),),
    bitsandbytes="ok",
)
CPU_TORCH = TorchReport(torch_version="2.13.0+cpu", bitsandbytes="ok", cpu_bf16_fast=True)


def with_card(card: GpuSnapshot = CARD, cuda: str | None = "13.0", **changes: object) -> GpuReport:
    card = msgspec.structs.replace(card, **changes)
    return msgspec.structs.replace(MACHINE, gpus=(card,), cuda_driver_version=cuda)


def statuses(checks: list[Check]) -> list[str]:
    return [check.status for check in checks]


# -- torch against the card ---------------------------------------------------------------------------------


def test_a_fitting_torch_is_fine() -> None:
    assert statuses(check_torch(CUDA_TORCH, MACHINE)) == ["ok", "ok"]


def test_a_processor_build_beside_a_card_is_a_problem_with_the_command_to_fix_it() -> None:
    check = check_torch(CPU_TORCH, MACHINE)[0]
    assert check.status == "problem" and "CPU-only build" in check.value
    assert "pip install torch --index-url https://download.pytorch.org/whl/cu130" in check.remedy.splitlines()
    assert statuses(check_torch(CPU_TORCH, NO_GPU)) == ["ok", "ok", "ok"]


@pytest.mark.parametrize(
    ("driver", "capability", "wheel"),
    [
        ("13.0", (8, 9), "cu130"),
        ("13.2", (12, 0), "cu130"),
        ("12.4", (8, 6), "cu126"),
        ("12.8", (12, 0), "cu128"),
        ("12.6", (12, 0), None),
        ("13.0", (6, 1), "cu126"),
        ("11.8", (8, 6), None),
        (None, None, "cu130"),
    ],
)
def test_the_wheel_follows_the_driver_and_the_card(
    driver: str | None, capability: tuple[int, int] | None, wheel: str | None
) -> None:
    assert torch_wheel(driver, capability) == wheel


@pytest.mark.parametrize(
    ("architectures", "capability", "runs"),
    [
        (("sm_80", "sm_86"), (8, 9), True),
        (("sm_80", "sm_86", "sm_90"), (12, 0), False),
        (("sm_80", "sm_90", "compute_90"), (12, 0), True),
        (("sm_75",), (6, 1), False),
        (("sm_90a",), (9, 0), True),
        (("sm_100a", "compute_100a"), (10, 3), False),
        (("sm_100f",), (10, 3), True),
        (("compute_100f",), (12, 0), False),
        (("sm_89",), (8, 6), False),
        ((), (8, 6), True),
        (("sm_86",), None, True),
    ],
)
def test_architectures(
    architectures: tuple[str, ...], capability: tuple[int, int] | None, runs: bool
) -> None:
    assert has_code_for(architectures, capability) is runs


def test_a_wheel_without_code_for_the_card_is_a_problem() -> None:
    check = check_torch(CUDA_TORCH, with_card(name="GTX 1080", compute_capability=(6, 1)))[0]
    assert check.status == "problem" and "no code for GTX 1080 (sm_61)" in check.detail
    assert "/whl/cu126" in check.remedy


def test_torch_that_sees_no_card_is_a_problem() -> None:
    blind = msgspec.structs.replace(CUDA_TORCH, cuda_available=False, devices=())
    check = check_torch(blind, with_card(cuda="12.4"))[0]
    assert check.status == "problem" and "the driver runs CUDA up to 12.4" in check.detail
    assert "/whl/cu126" in check.remedy
    old_driver = check_torch(blind, with_card(cuda="11.4"))[0]
    assert old_driver.remedy.startswith("Update the NVIDIA driver")


def test_a_card_without_bf16_is_a_note() -> None:
    checks = check_torch(CUDA_TORCH, with_card(compute_capability=(7, 5)))
    assert [(check.name, check.status) for check in checks][1] == ("bf16 on GPU 0", "note")
    assert "fp16 will be used" in checks[1].detail


def test_broken_bitsandbytes_is_a_warning() -> None:
    broken = msgspec.structs.replace(CUDA_TORCH, bitsandbytes="libcudart.so.13 not found")
    check = check_torch(broken, MACHINE)[-1]
    assert (check.status, check.detail) == ("warning", "libcudart.so.13 not found")


# -- the other checks ---------------------------------------------------------------------------------------


def test_cards_name_their_memory_and_who_holds_it() -> None:
    (check,) = check_gpus(MACHINE)
    assert check.value == "NVIDIA GeForce RTX 4070, 11.2 GB of 12.9 GB free"
    assert "ollama (77) uses 0.9 GB" in check.detail
    (unknown,) = check_gpus(with_card(memory_free_bytes=None, processes=None))
    assert "memory unknown" in unknown.value and "which processes use it is unknown" in unknown.detail


def test_a_missing_driver_is_a_problem_only_beside_a_card() -> None:
    assert statuses(check_gpus(NO_GPU)) == ["note"]
    assert statuses(check_gpus(msgspec.structs.replace(NO_GPU, gpu_present=True))) == ["problem"]
    lost = GpuReport(gpus=(GpuSnapshot(index=0), CARD), problem="GPU 0 does not answer", gpu_present=True)
    assert statuses(check_gpus(lost)) == ["problem", "ok", "problem"]


def test_libraries_are_compared_with_real_metadata() -> None:
    installed = ["click>=8.2", "torch>=2", 'no-such-library>=1; extra == "test"']
    (fine,) = check_libraries(installed)
    assert (fine.status, fine.value) == ("ok", "2 as required")
    too_old, missing = check_libraries(["click>=99", "no-such-library>=1", "psutil"])
    assert (too_old.name, too_old.status) == ("click", "problem")
    assert 'pip install "click>=99"' in too_old.remedy
    assert (missing.status, missing.value) == ("problem", "not installed")
    assert statuses(check_libraries(None)) == ["note"]


def test_folders_must_take_a_file(tmp_path: Path) -> None:
    fine = check_folder("Data folder", tmp_path / "not/made/yet")
    assert fine.status == "ok" and not (tmp_path / "not").exists()
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file/under", Path("/proc/here")):
        check = check_folder("Data folder", folder)
        assert check.status == "problem" and "cannot be written" in check.value


@pytest.mark.parametrize(
    ("free", "status"),
    [(10_000_000_000, "ok"), (9_999_999_999, "warning"), (1_999_999_999, "problem"), (None, "note")],
)
def test_free_space(free: int | None, status: str) -> None:
    assert check_space("Data folder", Path("/data"), free).status == status


def test_memory_and_cores() -> None:
    def system(free: int, total: int) -> SystemSnapshot:
        return SystemSnapshot(
            cpu_count=2, cpu_count_machine=8, ram_available_bytes=free, ram_total_bytes=total
        )

    cores, memory = check_system(system(16_000_000_000, 32_000_000_000))
    assert (cores.value, memory.status) == ("2 of 8 usable", "ok")
    assert check_system(system(3_000_000_000, 4_000_000_000))[1].status == "note"
    assert check_system(system(1_000_000_000, 32_000_000_000))[1].status == "warning"


def test_hub_and_survival() -> None:
    folder = Path("/models")
    assert check_hub(HubState(True, False, folder)).status == "ok"
    assert "hf auth login" in check_hub(HubState(False, False, folder)).remedy
    assert check_hub(HubState(True, True, folder)).value == "logged in, offline"
    assert check_survival(Survival(False, "it ends", "do this")).status == "warning"
    assert check_survival(Survival(None, "who knows")).status == "note"


# -- the process with torch ---------------------------------------------------------------------------------


def python(code: str) -> tuple[str, ...]:
    return (sys.executable, "-c", code)


def test_a_report_is_found_among_what_libraries_print() -> None:
    report = msgspec.structs.replace(CUDA_TORCH, precisions={"4-bit": PrecisionReport(True, "NF4")})
    line = msgspec.json.encode(report).decode()
    assert read_torch_report(30, python(f"print('{{noise'); print({line!r}); print('bye')")) == report


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise ModuleNotFoundError(\"No module named 'torch'\")", "torch is not installed"),
        ("import os; os.kill(os.getpid(), 4)", "SIGILL (this torch was built for a newer processor)"),
        (
            "import sys; print('lib x is broken', file=sys.stderr); sys.exit(3)",
            "exit code 3: lib x is broken",
        ),
        ("print('hello')", "no readable answer"),
        ("print('{\"cuda_available\": 7}')", "no readable answer"),
    ],
)
def test_every_failure_becomes_a_report(code: str, words: str) -> None:
    report = read_torch_report(30, python(code))
    assert report.error is not None and words in report.error
    assert check_torch(report, MACHINE)[0].status == "problem"


def test_a_missing_interpreter_becomes_a_report(tmp_path: Path) -> None:
    assert read_torch_report(30, (str(tmp_path / "none"),)).error is not None


def test_a_check_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = (
        "import subprocess, pathlib; child = subprocess.Popen(['sleep', '60'])\n"
        f"pathlib.Path({str(note)!r}).write_text(str(child.pid)); child.wait()"
    )
    report = read_torch_report(3, python(code))
    assert report.error == "torch did not answer within 3 seconds."
    deadline = time.monotonic() + 10
    while (left := is_running(int(note.read_text()))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not left


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


# -- the command --------------------------------------------------------------------------------------------


def test_lines_fit_and_keep_commands_whole() -> None:
    check = check_torch(CPU_TORCH, MACHINE)[0]
    lines = [click.unstyle(line) for line in check_lines(check)]
    assert max(map(len, lines)) <= 80
    assert lines[0].split()[:2] == ["problem", "torch"]
    assert "      pip install torch --index-url https://download.pytorch.org/whl/cu130" in lines


def test_names_from_the_machine_cannot_steer_the_terminal() -> None:
    lines = check_lines(Check("GPU 0", "ok", "card\x1b[2J", detail="evil\x9b31m"))
    assert not any(sign in click.unstyle("".join(lines)) for sign in "\x1b\x9b")


def test_the_precision_table_and_the_verdict() -> None:
    precisions = {"bf16": PrecisionReport(True, "fast"), "4-bit": PrecisionReport(False, "no kernels " * 12)}
    table = precision_lines(msgspec.structs.replace(CUDA_TORCH, precisions=precisions))
    assert table[1] == "bf16       yes  fast"
    assert table[2].startswith("4-bit      no   no kernels") and max(map(len, table)) <= 80
    checks = [Check("a", "ok", ""), Check("b", "warning", "")]
    assert verdict(checks) == "Ready to train, with 1 warning." and is_ready(checks)
    checks += [Check("c", "problem", ""), Check("d", "problem", "")]
    assert verdict(checks) == "Not ready to train: 2 problems, 1 warning." and not is_ready(checks)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNER_TUI_HOME", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    return tmp_path


def test_the_command_prints_one_json_object(home: Path) -> None:
    result = CliRunner().invoke(doctor, ["--json", "--no-torch"])
    report = json.loads(result.stdout)
    assert report["ok"] is (result.exit_code == 0)
    assert report["torch"] is None
    folders = [check["detail"] for check in report["checks"] if check["name"] == "Data folder"]
    assert folders == [str(home / "data")]
    assert "logged in" in result.stdout and "hf_secret" not in result.stdout


def test_the_command_fails_when_the_data_folder_cannot_be_written(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "file").write_text("")
    monkeypatch.setenv("TUNER_TUI_HOME", str(home / "file"))
    result = CliRunner().invoke(doctor, ["--no-torch"])
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert any(line.startswith("problem  Data folder") for line in lines)
    assert lines[-1].startswith("Not ready to train: ")
    assert max(map(len, lines)) <= 80


def test_importing_the_parts_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from tuner_tui.hardware import doctor, gpu, survival, system, telemetry, torch_report\n"
        "import tuner_tui.cli.doctor\n"
        "heavy = {'torch', 'transformers', 'pynvml', 'psutil', 'huggingface_hub', 'packaging', 'textual'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
