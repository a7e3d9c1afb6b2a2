"""Processor, memory, disk and processes, within the limits of the container or control group."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Literal

import msgspec

PlatformKind = Literal["linux", "wsl2", "macos", "windows"]

ROOT = Path("/")
CONTAINER_MARKS = re.compile(r"docker|kubepods|containerd|libpod|/lxc|garden")
RAPL_PACKAGE = re.compile(r"intel-rapl:\d+")


class SystemSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Processor and memory at one moment; every `None` means unknown."""

    cpu_percent: float | None = None
    """Of all the machine's cores, since this reader's last reading; unknown at its first."""
    cpu_count: int
    """Cores that this process may use, by affinity and quota."""
    cpu_count_machine: int | None = None
    ram_total_bytes: int
    ram_available_bytes: int
    swap_total_bytes: int | None = None
    swap_free_bytes: int | None = None


class RaplCounter(msgspec.Struct, frozen=True, kw_only=True):
    """One processor package's energy counter."""

    microjoules: int
    wraps_at_microjoules: int | None = None


class SystemReader:
    """Reads processor and memory; the CPU percentage needs two readings."""

    def __init__(self, root: Path = ROOT) -> None:
        self._cpu_count = usable_cpu_count(root)
        self._memory_groups = _cgroup_folders(root, "memory")
        self._busy_and_total: tuple[float, float] | None = None

    def read(self) -> SystemSnapshot:
        """The machine now."""
        import psutil

        memory = psutil.virtual_memory()
        total, available = _within_cgroups(self._memory_groups, memory.total, memory.available)
        try:
            swap = psutil.swap_memory()
        except (OSError, RuntimeError):  # some containers hide /proc/vmstat
            swap = None
        return SystemSnapshot(
            cpu_percent=self._cpu_percent(),
            cpu_count=self._cpu_count,
            cpu_count_machine=os.cpu_count(),
            ram_total_bytes=total,
            ram_available_bytes=available,
            swap_total_bytes=swap.total if swap else None,
            swap_free_bytes=swap.free if swap else None,
        )

    def _cpu_percent(self) -> float | None:
        """CPU usage since the last reading; psutil's own first value would be a meaningless 0.0."""
        import psutil

        times = psutil.cpu_times()
        # guest time is inside user time, and waiting for the disk is not work
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        busy = total - times.idle - getattr(times, "iowait", 0.0)
        before, self._busy_and_total = self._busy_and_total, (busy, total)
        if before is None or total <= before[1]:
            return None
        return min(100.0, max(0.0, 100 * (busy - before[0]) / (total - before[1])))


def read_system() -> SystemSnapshot:
    """Processor and memory once, for callers that do not keep a reader."""
    return SystemReader().read()


def usable_cpu_count(root: Path = ROOT) -> int:
    """Cores that this process may use, by its affinity and its control group's quota."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    for folder in _cgroup_folders(root, "cpu"):
        quota, period = _cpu_quota(folder)
        if quota is not None and period:
            cores = min(cores, quota // period)
    return max(1, cores)


def disk_free_bytes(path: Path) -> int | None:
    """Free space for this user at a path, which need not exist yet."""
    import shutil

    for folder in (path, *path.absolute().parents):
        try:
            return shutil.disk_usage(folder).free
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            return None
    return None


def rapl_counters(root: Path = ROOT) -> dict[str, RaplCounter]:
    """Each processor package's energy counter; empty if there is none or only root may read it."""
    powercap = root / "sys/class/powercap"
    counters: dict[str, RaplCounter] = {}
    for zone in sorted(powercap.iterdir()) if powercap.is_dir() else []:
        if not RAPL_PACKAGE.fullmatch(zone.name) or not _text(zone / "name").startswith("package"):
            continue
        microjoules = _number(zone / "energy_uj")
        if microjoules is None:
            return {}  # one package alone would understate the machine
        wraps_at = _number(zone / "max_energy_range_uj")
        counters[zone.name] = RaplCounter(microjoules=microjoules, wraps_at_microjoules=wraps_at)
    return counters


def cpu_energy_microjoules(root: Path = ROOT) -> int | None:
    """All processor packages' counters together, where they are readable."""
    counters = rapl_counters(root)
    return sum(counter.microjoules for counter in counters.values()) if counters else None


def platform_kind(root: Path = ROOT, platform: str = sys.platform) -> PlatformKind:
    """Which kind of system this is; WSL counts as its own, because it stops when its last window closes."""
    if platform == "darwin":
        return "macos"
    if platform in ("win32", "cygwin"):
        return "windows"
    return "wsl2" if "microsoft" in _text(root / "proc/sys/kernel/osrelease").lower() else "linux"


def in_container(root: Path = ROOT) -> bool:
    """Whether we are inside Docker, Podman, LXC, Kubernetes or the like."""
    marks = (".dockerenv", "run/.containerenv", "run/systemd/container")
    if any((root / mark).exists() for mark in marks):
        return True
    return bool(CONTAINER_MARKS.search(_text(root / "proc/1/cgroup")))


def process_tree(pid: int, root: Path = ROOT) -> list[int]:
    """A process and all its descendants; empty when it has exited."""
    if not has_child_lists(root):
        return _process_tree_by_scan(pid)
    tree, waiting = [], [pid]
    while waiting:
        process = waiting.pop()
        tasks = root / "proc" / str(process) / "task"
        try:
            lists = [(task / "children").read_text() for task in tasks.iterdir()]
        except OSError:
            continue
        tree.append(process)
        waiting.extend(int(child) for children in lists for child in children.split())
    return tree


def has_child_lists(root: Path = ROOT) -> bool:
    """Whether the kernel keeps lists of children, a hundred times cheaper than looking at every process."""
    return (root / "proc/self/task" / str(os.getpid()) / "children").exists()


def process_tree_memory_bytes(pid: int) -> int | None:
    """Memory of a process and its children, shared pages counted once; `None` when it has exited."""
    return tree_memory_bytes(process_tree(pid))


def tree_memory_bytes(pids: list[int]) -> int | None:
    """The same for processes already listed, the parent first."""
    import psutil

    sizes: list[int] = []
    for pid in pids:
        try:
            memory = psutil.Process(pid).memory_info()
        except psutil.Error:
            continue
        sizes.append(memory.rss - (getattr(memory, "shared", 0) if sizes else 0))
    return sum(sizes) or None


def _process_tree_by_scan(pid: int) -> list[int]:
    import psutil

    try:
        parent = psutil.Process(pid)
        return [pid, *(child.pid for child in parent.children(recursive=True))]
    except psutil.Error:
        return []


def _within_cgroups(folders: list[Path], total: int, available: int) -> tuple[int, int]:
    """Total and available memory after every enclosing group's limit."""
    for folder in folders:
        limit = _number(folder / "memory.max") or _number(folder / "memory.limit_in_bytes")
        used = _number(folder / "memory.current") or _number(folder / "memory.usage_in_bytes")
        if limit is None or limit >= total:
            continue
        total = limit
        if used is not None:
            available = min(available, max(0, limit - used + _file_cache(folder)))
    return total, min(available, total)


def _file_cache(folder: Path) -> int:
    """Cached file pages, which count as used by the group but are freed on demand."""
    fields = dict(line.split()[:2] for line in _text(folder / "memory.stat").splitlines() if " " in line)
    prefix = "total_" if "total_inactive_file" in fields else ""
    return sum(int(fields.get(prefix + key, 0)) for key in ("active_file", "inactive_file"))


def _cpu_quota(folder: Path) -> tuple[int | None, int | None]:
    """Microseconds of processor time a period, and the period; `None` where there is no limit."""
    words = _text(folder / "cpu.max").split()
    if len(words) == 2:
        return (int(words[0]) if words[0].isdigit() else None), int(words[1])
    quota = _number(folder / "cpu.cfs_quota_us")
    return (quota if quota and quota > 0 else None), _number(folder / "cpu.cfs_period_us")


def _cgroup_folders(root: Path, controller: str) -> list[Path]:
    """Our control groups for one controller from the innermost out, in version 1 or 2."""
    mount = root / "sys/fs/cgroup"
    base, path = mount, ""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if controller in controllers.split(","):
            base, path = mount / controller, group
            break
        if not controllers:
            path = group
    parts = [part for part in path.split("/") if part not in ("", "..")]
    return [base.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _text(path: Path) -> str:
    """A small file's text, empty when it cannot be read."""
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if re.fullmatch(r"-?\d+", text) else None
