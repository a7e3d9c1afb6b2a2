"""Memory that a driver put elsewhere without a word: seen by what is held, or by a cliff in the time of a token."""

from __future__ import annotations

import pytest
import torch

from tuner_tui.worker.device.system_memory_fallback import (
    CLIFF_STEPS,
    SystemMemoryFallback,
    SystemMemoryFallbackGuard,
    SystemMemoryFallbackWatch,
)
from tuner_tui.worker.model.loading import is_out_of_memory

CARD = 8 << 30


def looks(
    watch: SystemMemoryFallbackWatch, share: float, seconds: list[float], tokens: int = 100
) -> list[bool]:
    return [bool(watch.look(int(share * CARD), each, tokens)) for each in seconds]


def test_more_than_the_card_has_is_seen_at_once_on_every_system() -> None:
    watch = SystemMemoryFallbackWatch(CARD, can_fall_back=False)
    assert looks(watch, 0.99, [1.0] * 3) == [False] * 3
    assert looks(watch, 1.01, [1.0]) == [True]


def test_a_cliff_is_seen_where_the_driver_spills_and_the_card_is_full() -> None:
    steps = [1.0] * 10 + [9.0] * CLIFF_STEPS
    assert looks(SystemMemoryFallbackWatch(CARD, can_fall_back=True), 0.95, steps) == [False] * (
        len(steps) - 1
    ) + [True]
    assert not any(looks(SystemMemoryFallbackWatch(CARD, can_fall_back=False), 0.95, steps))
    assert not any(looks(SystemMemoryFallbackWatch(CARD, can_fall_back=True), 0.5, steps))


def test_what_is_no_cliff_is_left_alone() -> None:
    single = [1.0] * 8 + [9.0] * (CLIFF_STEPS - 1) + [1.0, 9.0]
    assert not any(looks(SystemMemoryFallbackWatch(CARD, can_fall_back=True), 0.95, single))
    first_is_slow = [30.0] + [1.0] * 20
    assert not any(looks(SystemMemoryFallbackWatch(CARD, can_fall_back=True), 0.95, first_is_slow))
    longer_rows = SystemMemoryFallbackWatch(CARD, can_fall_back=True)
    assert not any(looks(longer_rows, 0.95, [1.0] * 10, tokens=100))
    assert not any(looks(longer_rows, 0.95, [8.0] * 5, tokens=800))


def test_the_guard_ends_the_attempt_as_memory_that_ran_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (0, CARD))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: CARD + (1 << 30))
    guard = SystemMemoryFallbackGuard()
    guard.on_log(None, None, None, {"eval_loss": 1.0})  # type: ignore[arg-type]
    with pytest.raises(SystemMemoryFallback, match=r"9\.\d+ GB.*on a GPU of 8") as raised:
        guard.on_log(None, None, None, {"loss": 1.0, "num_tokens": 10.0})  # type: ignore[arg-type]
    assert is_out_of_memory(raised.value)
