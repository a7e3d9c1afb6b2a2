"""Names of new runs that a person can say: my-tools-brave-otter, or qwen3-4b-sft-calm-heron where none was given."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tuner_tui.config.spec import RunSpec

_ADJECTIVES = """
able agile alert amber ample apt arch azure bold brave brief bright brisk broad calm candid clear clever
cosmic cosy crisp deft eager early easy fair fast fine firm fleet fond free fresh gentle glad golden good
grand green happy hardy honest humble ideal jolly keen kind large late light lively loyal lucid lucky mellow
merry mighty mild modest neat nimble noble open patient placid plain proud quick quiet rapid ready regal rich
robust rosy rustic sage serene sharp shiny silent silver simple smart smooth snug solid steady still strong
sturdy subtle sunny swift tender tidy tough trusty upbeat urban useful vast vivid warm wise witty young zesty
"""
_ANIMALS = """
adder alpaca ant auk badger bat bear beaver bee beetle bison bobcat bongo camel caribou cat civet clam cobra
condor coral cougar coyote crab crane cricket crow deer dingo dove duck eagle eel egret eider elk emu ermine
ferret finch fox frog gannet gecko gibbon goat goose grouse gull hare hawk hermit heron horse hyena ibex ibis
iguana impala jackal jaguar jay kestrel kite kiwi koala krill lark lemur linnet lion lizard locust loon lynx
macaw magpie marlin marten mink mole moose moth mouse mule newt ocelot okapi oriole osprey otter owl oyster
panda parrot pelican perch pigeon pika plover pony puffin puma quail rabbit raven robin salmon seal shark
sheep shrew skink sloth snail sparrow squid stoat stork swan tapir tern tiger toad toucan trout turtle viper
vole walrus weasel whale wolf wombat wren yak zebra
"""
ADJECTIVES, ANIMALS = tuple(_ADJECTIVES.split()), tuple(_ANIMALS.split())

LONGEST_MODEL = 20
_DATED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}-(?P<given>.+)-[0-9a-f]{4}")
"""A name as earlier versions made it: a date, what the run was named, and a number."""
_SIZE = re.compile(r"[0-9]+(?:x[0-9]+)?[bm]")
"""A model's size in its name, such as 8b or 135m; what follows it says little."""


def run_slug(words: str) -> str:
    """Words as they stand in a run's name, such as my-tools for "My tools!"; empty if nothing of them can."""
    return re.sub(r"[^a-z0-9]+", "-", words.lower()).strip("-")[:40].strip("-")


def fresh_name(spec: RunSpec, is_taken: Callable[[str], bool]) -> str:
    """A name for a new run that is not taken: what it was named, else its model and method, and two words."""
    import secrets

    slug = run_slug(spec.name or f"{_short_model(spec.model.source)}-{spec.method.kind}") or "run"
    while True:
        name = f"{slug}-{secrets.choice(ADJECTIVES)}-{secrets.choice(ANIMALS)}"
        if not is_taken(name):
            return name


def given_name(name: str) -> str:
    """The part of a run's name before what makes it unique; empty for a folder that was renamed."""
    if made := _DATED.fullmatch(name):
        return made["given"]
    given, adjective, animal = ("", "", *name.rsplit("-", 2))[-3:]
    return given if adjective in ADJECTIVES and animal in ANIMALS else ""


def without_date(name: str) -> str:
    """A name as narrow lists show it: of earlier versions' names all but the date."""
    return name[len("2026-01-01-") :] if _DATED.fullmatch(name) else name


def two_words(name: str) -> str:
    """The two words that make a name unique; empty for other names."""
    given = given_name(name)
    return "" if not given or _DATED.fullmatch(name) else name[len(given) + 1 :]


def _short_model(source: str) -> str:
    """A model's name up to its size: qwen3-4b of Qwen/Qwen3-4B-Instruct-2507."""
    words = run_slug(source.rstrip("/").rpartition("/")[2].removesuffix(".gguf")).split("-")
    for place, word in enumerate(words):
        if _SIZE.fullmatch(word):
            return "-".join(words[: place + 1])
    return "-".join(words)[:LONGEST_MODEL].strip("-")
