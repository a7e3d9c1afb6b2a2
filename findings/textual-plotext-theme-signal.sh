#!/bin/sh
# textual-plotext 1.0.1 with textual 8.2.8: plots that were removed stay in memory until the theme changes.
#
# Expected: a PlotextPlot that was removed is collected.
# Seen: it subscribes to `App.theme_changed_signal`. The signal keeps its subscribers in a WeakKeyDictionary, but the callback
# kept as the value holds the plot, so the key never dies; removed plots go only when the signal is published next.
# Way round: subscribe in a subclass with a callback that holds no reference, or drop the subscription on unmount.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q textual==8.2.8 textual-plotext==1.0.1 plotext==5.3.2
"$work/venv/bin/python" - <<'PY'
import asyncio
import gc

from textual._styles_cache import StylesCache
from textual.app import App
from textual_plotext import PlotextPlot


def alive():
    StylesCache.get_inner_outer.cache_clear()
    gc.collect()
    return sum(isinstance(thing, PlotextPlot) for thing in gc.get_objects())


async def main():
    app = App()
    async with app.run_test() as pilot:
        for _ in range(20):
            plot = PlotextPlot()
            await app.mount(plot)
            await pilot.pause()
            await plot.remove()
            del plot
        await pilot.pause()
        print(f"plots in memory after 20 were mounted and removed: {alive()}")
        assert alive() >= 18, "CHANGED"


asyncio.run(main())
PY
