"""Which memory counts for a run: the first card's, or main memory."""

from __future__ import annotations

from tuner_tui.hardware.free_memory import choose_free_memory, read_free_memory
from tuner_tui.hardware.gpu import GpuProcess, GpuReport, GpuSnapshot
from tuner_tui.hardware.system import SystemSnapshot

SYSTEM = SystemSnapshot(cpu_count=4, ram_total_bytes=16_000, ram_available_bytes=9_000)
CARD = GpuSnapshot(
    index=0,
    name="RTX 4070",
    memory_total_bytes=12_000,
    memory_free_bytes=11_000,
    processes=(GpuProcess(pid=7, name="ollama", memory_bytes=900), GpuProcess(pid=8)),
)


def test_a_card_counts_and_who_holds_it_is_named() -> None:
    free = choose_free_memory(GpuReport(gpus=(CARD,)), SYSTEM)
    assert (free.is_gpu, free.where, free.free_bytes) == (True, "RTX 4070", 11_000)
    assert free.holders == (("ollama", 900),)


def test_main_memory_counts_without_a_card_or_when_the_cpu_is_asked_for() -> None:
    for free in (
        choose_free_memory(GpuReport(problem="none"), SYSTEM),
        choose_free_memory(None, SYSTEM),
        choose_free_memory(GpuReport(gpus=(CARD,)), SYSTEM, "cpu"),
    ):
        assert (free.is_gpu, free.where, free.free_bytes) == (False, "RAM", 9_000)


def test_a_card_that_says_nothing_stays_unknown() -> None:
    free = choose_free_memory(GpuReport(gpus=(GpuSnapshot(index=0),)), SYSTEM)
    assert (free.is_gpu, free.where, free.free_bytes, free.holders) == (True, "GPU", None, ())


def test_this_machine_has_some() -> None:
    assert (read_free_memory("cpu").free_bytes or 0) > 0
