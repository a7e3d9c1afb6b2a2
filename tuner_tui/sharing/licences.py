"""Licences of base models, and their requirements for derivatives."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from tuner_tui import guarded
from tuner_tui.errors import InputError, TunerError
from tuner_tui.models.gguf_header import read_gguf

if TYPE_CHECKING:
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
OR = " or "
LLAMA = 'pass on the Llama licence, show "Built with Llama", and begin the model\'s name with "Llama"'


def base_licence(facts: RunFacts) -> str | None:
    """The base's licence as a Hub identifier, if local files name it. Raises Unreadable."""
    from tuner_tui.models.hub_cache import cached_snapshot

    location = Path(facts.plan.model_location)
    if location.is_file():
        try:
            return read_gguf(location).text("general.license")
        except (InputError, OSError):
            return None
    folder = (
        location if location.is_dir() else cached_snapshot(facts.plan.model_location, facts.plan.revision)
    )
    card = folder / "README.md" if folder else None
    if card is None or not card.is_file():
        return None
    front_matter = re.match(r"\s*---\n(.*?)\n---", guarded.read_text(card, errors="replace"), re.S)
    return named_licence(front_matter[1]) if front_matter else None


def named_licence(metadata: str) -> str | None:
    """The licence in a card's YAML; a list is joined by "or"."""
    match = re.search(
        r"^license:[ \t]*(?:\[([^\]]*)\]|['\"]?([\w.+-]+)|((?:\n[ \t]*-[ \t]+\S+)+))", metadata, re.M
    )
    if match is None:
        return None
    return OR.join(re.findall(r"[\w.+]+(?:-[\w.+]+)*", next(filter(None, match.groups()), ""))) or None


def alternatives(licence: str | None) -> list[str]:
    """The alternative licences."""
    return licence.split(OR) if licence else []


def what_it_asks(licence: str | None) -> str:
    """A licence's requirements for derivatives, in one clause."""
    if licence is None:
        return "unknown; see the base's page and set it with --licence"
    if OR in licence:
        return "; or ".join(map(what_it_asks, alternatives(licence)))
    if licence.startswith("llama"):
        return LLAMA
    return ASKS.get(licence, "follow its own terms, see the base's page")


def require_name(licence: str | None, repo_id: str) -> None:
    """Raise TunerError when a base's licence requires another repository name."""
    names = alternatives(licence)
    is_asked = bool(names) and all(name.startswith("llama3") for name in names)
    if is_asked and not repo_id.partition("/")[2].lower().startswith("llama"):
        raise TunerError(
            "The licence requires another name",
            f"{licence}: the names of derivatives must begin with Llama, and {repo_id} does not.",
            "Choose a name that begins with Llama.",
        )
