#!/bin/sh
# textual 8.2.8: closing screens leaves parts of their widgets in memory.
#
# Expected: a screen that was pushed and popped, and everything on it, is collected.
# Seen, after garbage collection:
# - `StylesCache.get_inner_outer` is an instance method under `lru_cache(1024)`, so the cache holds the StylesCache of up to
#   1024 removed widgets, each with the strips it has drawn.
# - `Footer.compose` binds each key's `compact` to the footer's; keys that are replaced whenever bindings change stay in the
#   footer's list of watchers for as long as the footer lives.
# An app that opens and closes a large screen all day grows by some 0.3 MB a visit.
# Ways round: `StylesCache.get_inner_outer.cache_clear()` when a screen closes; a footer that passes `compact` on by itself.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q textual==8.2.8
"$work/venv/bin/python" - <<'PY'
import asyncio
import gc

from textual._styles_cache import StylesCache
from textual.app import App
from textual.screen import Screen
from textual.widgets import Footer, Label
from textual.widgets._footer import FooterKey


class Visit(Screen):
    def compose(self):
        for number in range(20):
            yield Label(f"row {number}")


class Keys(App):
    BINDINGS = [("a", "bell", "One"), ("b", "bell", "Two"), ("c", "bell", "Three")]

    def compose(self):
        yield Footer()


def alive(kind):
    gc.collect()
    return sum(type(thing) is kind for thing in gc.get_objects())


async def main():
    app = Keys()
    async with app.run_test() as pilot:
        await pilot.pause()

        async def visits(count):
            for _ in range(count):
                await app.push_screen(Visit())
                await pilot.pause()
                await app.pop_screen()
                await pilot.pause()

        await visits(2)
        caches = alive(StylesCache)
        await visits(20)
        print(f"StylesCache objects: {caches} after 2 visits, {alive(StylesCache)} after 22")
        assert alive(Visit) == 0
        assert alive(StylesCache) - caches > 200, "CHANGED"
        StylesCache.get_inner_outer.cache_clear()
        print(f"after clearing get_inner_outer's cache: {alive(StylesCache)}")
        assert alive(StylesCache) <= caches

        keys = alive(FooterKey)
        for _ in range(30):
            app.screen.refresh_bindings()
            await pilot.pause()
        print(f"FooterKey objects: {keys}, and {alive(FooterKey)} after 30 changes of the bindings")
        assert alive(FooterKey) - keys >= 25, "CHANGED"


asyncio.run(main())
PY
