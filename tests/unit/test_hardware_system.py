"""Processor, memory and logout rules over fake file roots, and over this machine where it is real."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tuner_tui.hardware import survival
from tuner_tui.hardware.survival import logout_survival, read_logind_settings
from tuner_tui.hardware.system import (
    SystemReader,
    cpu_energy_microjoules,
    disk_free_bytes,
    in_container,
    platform_kind,
    process_tree,
    process_tree_memory_bytes,
    rapl_counters,
    read_system,
    usable_cpu_count,
)

GIB = 1024**3


def put(root: Path, **files: str) -> None:
    """Write files under a fake root; `__` in a name stands for `/`."""
    for name, text in files.items():
        write(root, name.replace("__", "/"), text)


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_this_machine_is_read() -> None:
    system = read_system()
    assert 0 < system.ram_available_bytes <= system.ram_total_bytes <= psutil.virtual_memory().total
    assert 1 <= system.cpu_count <= (os.cpu_count() or 1)
    assert system.cpu_percent is None  # one look is no percentage


def test_two_looks_make_a_percentage(tmp_path: Path) -> None:
    reader = SystemReader(tmp_path)
    reader.read()
    percent = None
    while percent is None:  # until the kernel's clock has ticked
        percent = reader.read().cpu_percent
    assert 0 <= percent <= 100


def test_memory_limit_of_an_outer_group_counts(tmp_path: Path) -> None:
    limit = psutil.virtual_memory().total // 2
    put(tmp_path, proc__self__cgroup="0::/box/inner\n")
    write(tmp_path, "sys/fs/cgroup/box/inner/memory.max", "max\n")
    write(tmp_path, "sys/fs/cgroup/box/memory.max", f"{limit}\n")
    write(tmp_path, "sys/fs/cgroup/box/memory.current", f"{limit - 1000}\n")
    write(tmp_path, "sys/fs/cgroup/box/memory.stat", "anon 5\ninactive_file 300\nactive_file 200\n")
    system = SystemReader(tmp_path).read()
    assert (system.ram_total_bytes, system.ram_available_bytes) == (limit, 1500)


def test_memory_limit_of_version_1(tmp_path: Path) -> None:
    limit = psutil.virtual_memory().total // 2
    put(tmp_path, proc__self__cgroup="4:memory:/box\n1:cpu:/\n0::/\n")
    write(tmp_path, "sys/fs/cgroup/memory/box/memory.limit_in_bytes", f"{limit}\n")
    write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", f"{2**63 - 4096}\n")
    assert SystemReader(tmp_path).read().ram_total_bytes == limit


@pytest.mark.parametrize(("cpu_max", "half"), [("max 100000", False), ("150000 100000", True)])
def test_cpu_quota(tmp_path: Path, cpu_max: str, half: bool) -> None:
    put(tmp_path, proc__self__cgroup="0::/../box\n", sys__fs__cgroup__box__README="")
    write(tmp_path, "sys/fs/cgroup/box/cpu.max", cpu_max)
    bound = len(os.sched_getaffinity(0))
    assert usable_cpu_count(tmp_path) == (1 if half else bound)


def test_cpu_affinity_counts() -> None:
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from tuner_tui.hardware.system import usable_cpu_count; print(usable_cpu_count())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_disk_of_a_folder_not_made_yet(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "a/b/c", tmp_path / "file/under"):
        free = disk_free_bytes(path)
        assert free is not None and free > 0


def test_energy_counters_of_every_package(tmp_path: Path) -> None:
    zones = {"intel-rapl:0": "package-0", "intel-rapl:1": "package-1", "intel-rapl:2": "psys"}
    zones |= {"intel-rapl:0:0": "core", "intel-rapl-mmio:0": "package-0"}
    for number, (zone, name) in enumerate(zones.items(), 1):
        write(tmp_path, f"sys/class/powercap/{zone}/name", name)
        write(tmp_path, f"sys/class/powercap/{zone}/energy_uj", str(10**number))
        write(tmp_path, f"sys/class/powercap/{zone}/max_energy_range_uj", "262143328850")
    assert cpu_energy_microjoules(tmp_path) == 110
    assert rapl_counters(tmp_path)["intel-rapl:0"].wraps_at_microjoules == 262143328850
    (tmp_path / "sys/class/powercap/intel-rapl:1/energy_uj").unlink()
    assert cpu_energy_microjoules(tmp_path) is None


def test_platform_and_container(tmp_path: Path) -> None:
    assert platform_kind(tmp_path, "linux") == "linux"
    assert platform_kind(tmp_path, "darwin") == "macos"
    assert platform_kind(tmp_path, "win32") == "windows"
    write(tmp_path, "proc/sys/kernel/osrelease", "5.15.167.4-microsoft-standard-WSL2\n")
    assert platform_kind(tmp_path, "linux") == "wsl2"
    assert not in_container(tmp_path)
    write(tmp_path, "proc/1/cgroup", "12:memory:/docker/4c01\n")
    assert in_container(tmp_path)


def test_memory_of_a_process_and_its_child() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as parent:
        try:
            while len(process_tree(parent.pid)) < 2:
                assert parent.poll() is None
            assert process_tree(parent.pid)[0] == parent.pid
            alone = psutil.Process(parent.pid).memory_info().rss
            together = process_tree_memory_bytes(parent.pid)
            assert together is not None and together > alone
        finally:
            os.killpg(parent.pid, 9)
    assert process_tree_memory_bytes(parent.pid) is None


def test_children_from_the_kernels_lists(tmp_path: Path) -> None:
    write(tmp_path, f"proc/self/task/{os.getpid()}/children", "")
    write(tmp_path, "proc/10/task/10/children", "11 ")
    write(tmp_path, "proc/10/task/17/children", "12 13 ")
    write(tmp_path, "proc/11/task/11/children", "14 ")
    for pid in (12, 14):
        write(tmp_path, f"proc/{pid}/task/{pid}/children", "")
    assert process_tree(10, tmp_path)[0] == 10
    assert sorted(process_tree(10, tmp_path)) == [10, 11, 12, 14]  # 13 is gone already
    assert process_tree(99, tmp_path) == []


# -- logout -------------------------------------------------------------------------------------------------

SESSION = "0::/user.slice/user-1000.slice/session-3.scope\n"
USER_MANAGER = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/vte-spawn-1.scope\n"


@pytest.fixture
def systemd(tmp_path: Path) -> Path:
    """A machine that systemd runs, with the file its distribution ships."""
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    write(tmp_path, "usr/lib/systemd/logind.conf", "[Login]\n#KillUserProcesses=no\n#KillExcludeUsers=root\n")
    write(tmp_path, "proc/self/cgroup", SESSION)
    return tmp_path


def survives(root: Path, user: str = "ada") -> bool | None:
    return logout_survival(root, user, "linux").survives


def test_the_shipped_default_counts(systemd: Path) -> None:
    assert survives(systemd) is True
    write(systemd, "usr/lib/systemd/logind.conf", "[Login]\n#KillUserProcesses=yes\n")
    assert survives(systemd) is False
    (systemd / "usr/lib/systemd/logind.conf").unlink()
    assert survives(systemd) is None


def test_drop_ins_override_in_order_and_hide_their_namesakes(systemd: Path) -> None:
    write(systemd, "usr/lib/systemd/logind.conf.d/50-kill.conf", "[Login]\nKillUserProcesses=yes\n")
    assert survives(systemd) is False
    assert "systemd-run --user --scope" in logout_survival(systemd, "ada", "linux").remedy
    assert survives(systemd, "root") is True
    write(systemd, "etc/systemd/logind.conf.d/50-kill.conf", "[Other]\nKillUserProcesses=no\n")
    assert survives(systemd) is True
    write(systemd, "run/systemd/logind.conf.d/60-kill.conf", "[Login]\nKillUserProcesses = true\n")
    assert survives(systemd) is False
    write(systemd, "etc/systemd/logind.conf.d/70-only.conf", "[Login]\nKillOnlyUsers=bob eve\n")
    assert survives(systemd) is True
    assert read_logind_settings(systemd).kill_only_users == ("bob", "eve")


def test_linger_saves_what_the_user_manager_runs_but_not_a_killed_session(systemd: Path) -> None:
    write(systemd, "proc/self/cgroup", USER_MANAGER)
    assert survives(systemd) is False
    assert "loginctl enable-linger" in logout_survival(systemd, "ada", "linux").remedy
    write(systemd, "var/lib/systemd/linger/ada", "")
    assert survives(systemd) is True
    write(systemd, "proc/self/cgroup", SESSION)
    write(systemd, "etc/systemd/logind.conf", "[Login]\nKillUserProcesses=yes\n")
    assert survives(systemd) is False


def test_outside_login_sessions_and_without_systemd_nothing_ends_a_run(systemd: Path, tmp_path: Path) -> None:
    write(systemd, "etc/systemd/logind.conf", "[Login]\nKillUserProcesses=yes\n")
    write(systemd, "proc/self/cgroup", "12:pids:/x\n1:name=systemd:/system.slice/cron.service\n0::/\n")
    assert survives(systemd) is True
    (systemd / "run/systemd/system").rmdir()
    assert "no systemd" in logout_survival(systemd, "ada", "linux").reason


@pytest.mark.parametrize(
    ("wslconfig", "expected"),
    [
        (None, False),
        ("[wsl2]\nvmIdleTimeout=60000\n", False),
        ("[wsl2]\nvmIdleTimeout = -1\n", None),
        ("[general]\r\ninstanceIdleTimeout=-1\r\n[wsl2]\r\nvmIdleTimeout=-1\r\n", True),
    ],
)
def test_wsl_stops_with_its_last_window(systemd: Path, wslconfig: str | None, expected: bool | None) -> None:
    write(systemd, "proc/sys/kernel/osrelease", "6.6.87.2-microsoft-standard-WSL2\n")
    if wslconfig is not None:
        write(systemd, "mnt/c/Users/Ada/.wslconfig", wslconfig)
    survival = logout_survival(systemd, "ada", "linux")
    assert survival.survives is expected
    assert ("instanceIdleTimeout=-1" in survival.remedy) is (expected is not True)


def test_a_container_lives_as_long_as_its_main_process(tmp_path: Path) -> None:
    write(tmp_path, ".dockerenv", "")
    write(tmp_path, "proc/1/comm", "bash\n")
    assert survives(tmp_path) is False
    write(tmp_path, "proc/1/comm", "sshd\n")
    survival = logout_survival(tmp_path, "ada", "linux")
    assert survival.survives is None and "sshd" in survival.reason


def test_other_systems_are_not_judged(tmp_path: Path) -> None:
    assert logout_survival(tmp_path, "ada", "darwin").survives is None


@pytest.mark.parametrize(("survives", "words"), [(True, ""), (None, ""), (False, "It ends.")])
def test_what_ends_at_logout_is_said_before_a_start(
    survives: bool | None, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survival, "logout_survival", lambda: survival.Survival(survives, "It ends."))
    assert survival.why_it_ends.__wrapped__() == words
