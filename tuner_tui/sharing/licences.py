"""Licences of base models, and their requirements for derivatives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui.errors import InputError, TunerError
from tuner_tui.models.card_metadata import OR, CardLicence, read_licence
from tuner_tui.models.gguf_header import read_gguf

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tuner_tui.sharing.run_facts import RunFacts

ASKS = {
    "apache-2.0": "keep the licence and notices, and say that you changed it",
    "mit": "keep the copyright notice and the licence",
    "bsd-3-clause": "keep the copyright notice and the licence",
    "gemma": "pass on Gemma's terms and its use policy, and say that you changed it",
    "openrail": "pass on its use restrictions",
    "bigscience-openrail-m": "pass on its use restrictions",
    "cc-by-4.0": "name the authors, and say that you changed it",
    "cc-by-sa-4.0": "name the authors, and share under the same licence",
    "cc-by-nc-4.0": "name the authors; no commercial use",
    "cc-by-nc-sa-4.0": "name the authors, share under the same licence; no commercial use",
    "other": "follow its own terms, see the base's page",
}
_NAMING = re.compile(r"(?:meta-)?llama-?(?:[3-9]|guard-[3-9])")
"""How licences and models are called whose derivatives must have a name that begins with Llama."""
_SEPARATORS = re.compile(r"[\s_-]+")
LLAMA = 'pass on the Llama licence, show "Built with Llama", and begin the model\'s name with "Llama"'
LLAMA_2 = "pass on the Llama 2 licence, its notice and its use policy"


def base_licence(facts: RunFacts) -> CardLicence:
    """The base's licence, if local files name it. Raises Unreadable."""
    from tuner_tui.models.hub_cache import cached_snapshot

    location = Path(facts.plan.model_location)
    if location.is_file():
        try:
            header = read_gguf(location)
        except (InputError, OSError):
            return CardLicence()
        return CardLicence(*(header.text(f"general.license{part}") for part in ("", ".name", ".link")))
    folder = (
        location if location.is_dir() else cached_snapshot(facts.plan.model_location, facts.plan.revision)
    )
    card = folder / "README.md" if folder else None
    return read_licence(card) if card is not None and card.is_file() else CardLicence()


def licence_of(facts: RunFacts, chosen: str | None) -> CardLicence:
    """The licence that was chosen, else the base's, which knows more of itself. Raises Unreadable."""
    base = base_licence(facts)
    return base if chosen in (None, "", base.identifier) else CardLicence(chosen)


def link_from_elsewhere(link: str | None, base_name: str | None) -> str | None:
    """A `license_link` that leads to the same text from another repository: it may name a file of the base's own."""
    if link is None or ":" in link or base_name is None:
        return link
    return f"https://huggingface.co/{base_name}/blob/main/{link.removeprefix('./').lstrip('/')}"


def told(licence: CardLicence) -> str | None:
    """A licence's name for people: the Hub's identifier, or what "other" stands for."""
    return licence.name if licence.identifier in (None, "other") and licence.name else licence.identifier


def alternatives(licence: str | None) -> list[str]:
    """The alternative licences."""
    return licence.split(OR) if licence else []


def what_it_asks(licence: str | None) -> str:
    """A licence's requirements for derivatives, in one clause."""
    if licence is None:
        return "unknown; see the base's page and set it with --licence"
    if OR in licence:
        return "; or ".join(map(what_it_asks, alternatives(licence)))
    if _asks_for_name(licence):
        return LLAMA
    if _plain(licence).startswith(("llama2", "llama-2")):
        return LLAMA_2
    return ASKS.get(licence.lower(), "follow its own terms, see the base's page")


def _plain(name: str) -> str:
    """A name as the Hub writes its own: in small letters, with hyphens between words."""
    return _SEPARATORS.sub("-", name.strip().lower())


def _asks_for_name(licence: str) -> bool:
    """Whether it is one of Llama's licences from version 3 on, by the Hub's identifier or in whatever words."""
    return any(_NAMING.match(part) for part in _tails(_plain(licence)))


def _tails(name: str) -> Iterator[str]:
    """A name from each of its words on."""
    words = name.split("-")
    return ("-".join(words[start:]) for start in range(len(words)))


def require_name(licence: CardLicence, base: str, repo_id: str) -> None:
    """Raise TunerError when a base's licence requires another repository name.

    Llama's licences from version 3 on do (llama.com, "If you use the Llama Materials ... you shall also include Llama
    at the beginning of any such AI model name"); the base's own name tells where its card says "other" or nothing.
    """
    names = alternatives(licence.identifier)
    licence_names = [name for name in names if name != "other"] or [licence.name or ""]
    is_asked = all(map(_asks_for_name, licence_names))
    if not any(licence_names):
        licence_names = [base.rstrip("/").rpartition("/")[2]]
        is_asked = _NAMING.match(_plain(licence_names[0])) is not None
    if is_asked and not repo_id.partition("/")[2].lower().startswith("llama"):
        raise TunerError(
            "The licence requires another name",
            f"{', '.join(licence_names)}: the names of derivatives must begin with Llama, and {repo_id} does not.",
            "Choose a name that begins with Llama.",
        )
