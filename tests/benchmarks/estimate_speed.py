"""How long the memory table takes, and how soon it follows keys: `python -m tests.benchmarks.estimate_speed`."""

from __future__ import annotations

import asyncio
import statistics
import sys
import time

from tuner_tui.config.spec import DataSpec, ModelSpec, RunSpec, TrainingSpec
from tuner_tui.models.facts import facts_from
from tuner_tui.planning.place import Place
from tuner_tui.planning.table import memory_table

TABLE_MS, PANEL_MS = 5.0, 100.0
KEYS_PER_SECOND, KEYS = 200, 60
CONFIG = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14_336, "vocab_size": 128_256, "tie_word_embeddings": False,
}  # fmt: skip


def table_times(rounds: int = 200) -> list[float]:
    """Milliseconds of whole tables, for cards of several sizes."""
    facts = facts_from(CONFIG, {})
    times = []
    for number in range(rounds):
        spec = RunSpec(
            model=ModelSpec(source="x"),
            data=DataSpec(train="y"),
            training=TrainingSpec(batch_size=64, max_length=512 + number),
        )
        place = Place(True, "card", (6 + number % 80) * 10**9)
        begun = time.perf_counter()
        memory_table(spec, facts, place)
        times.append(1000 * (time.perf_counter() - begun))
    return times


async def panel_delay() -> float:
    """Milliseconds from the last key of a burst to the panel that matches it."""
    from tests.ui.new_run_host import Host
    from tuner_tui.ui.screens.new_run.screen import NewRunScreen

    app = Host()
    async with app.run_test(size=(130, 40)) as pilot:
        spec = RunSpec(model=ModelSpec(source="demo"), data=DataSpec(train="demo"))
        screen = NewRunScreen(spec)
        await app.push_screen(screen)
        while not screen._panel.view.rows:
            await pilot.pause(0.05)
        await asyncio.sleep(2)
        for number in range(KEYS):
            screen._change("tuning.rank", str(8 + number))
            await asyncio.sleep(1 / KEYS_PER_SECOND)
        begun = time.perf_counter()
        while screen._panel.view.rows[0].load.rank != 8 + KEYS - 1:
            await asyncio.sleep(0.002)
        return 1000 * (time.perf_counter() - begun)


def main() -> int:
    """Print both figures; 1 when one misses its bound."""
    table_times(20)
    times = table_times()
    median = statistics.median(times)
    delay = asyncio.run(panel_delay())
    print(
        f"table: median {median:.2f} ms, slowest {max(times):.2f} ms (bound {TABLE_MS:g} ms for the median)"
    )
    print(f"panel: {delay:.0f} ms after a burst of {KEYS_PER_SECOND} keys a second (bound {PANEL_MS:g} ms)")
    return 0 if median <= TABLE_MS and delay <= PANEL_MS else 1


if __name__ == "__main__":
    sys.exit(main())
