"""The second net: what looks like a secret, or names this person or machine, is taken out of the whole report.

The allow-lists should leave nothing for it; what it still takes out is counted and named.
"""

from __future__ import annotations

import getpass
import os
import platform
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tuner_tui.config import paths
from tuner_tui.errors import TunerError
from tuner_tui.sharing.scan import LOGIN, PASSWORD, PLACES, SECRETS

SHORTEST_NAME = 3
"""Characters of a user or host name below which it is part of too many words."""
ORDINARY_NAMES = frozenset({"root", "user", "admin", "localhost", "test", "build", "docker"})
SECRET_VARIABLE = re.compile(r"(?i)token|secret|passw|api_?key|credential|private_?key|access_?key|auth")
SHORTEST_SECRET = 6
PEM = re.compile(r"-----BEGIN [^\n-]{1,60}-----(?s:.*?)(?:-----END [^\n-]{1,60}-----|(?=\n```)|\Z)")
AUTHORIZATION = re.compile(
    r"(?i)\b((?:proxy-)?authorization|x-api-key|cookie|set-cookie)([\"']?\s*[:=]\s*)[^\n]+"
)
SECRET_KEY = re.compile(
    r"(?i)([a-z_-]{0,20}(?:secret|access|private|account)[_-]?(?:access[_-]?)?key)([\"']?\s*[:=]\s*[\"']?)[^\s\"',]{8,}"
)
BEARER = re.compile(r"(?i)\b(bearer|basic|token)\s+(?=[^\s]*\d)[A-Za-z0-9._~+/=-]{12,}")


@dataclass(frozen=True)
class Private:
    """Texts that name this person or machine, and their secrets."""

    secrets: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    home: str = ""
    folders: tuple[str, ...] = ()


@dataclass
class Cleaned:
    """A text without them."""

    text: str
    removed: Counter[str] = field(default_factory=Counter)
    """How often what was taken out."""


def private_here() -> Private:
    """What is private on this machine and of this user."""
    secrets = {
        value
        for name, value in os.environ.items()
        if SECRET_VARIABLE.search(name) and len(value) >= SHORTEST_SECRET and not value.isdecimal()
    }
    if token := _hub_token():
        secrets.add(token)
    names = {*_user_names(), platform.node(), platform.node().partition(".")[0]}
    private = {name for name in names if len(name) >= SHORTEST_NAME and name.lower() not in ORDINARY_NAMES}
    home = str(Path("~").expanduser())
    return Private(
        tuple(sorted(secrets, key=len, reverse=True)),
        tuple(sorted(private, key=len, reverse=True)),
        home if len(home) > 1 else "",
        _own_folders(),
    )


def _hub_token() -> str | None:
    from huggingface_hub import get_token

    return get_token()


def _user_names() -> set[str]:
    """The login and the person's name, whole and in words."""
    names = set()
    try:
        names.add(getpass.getuser())
        import pwd

        full = pwd.getpwuid(os.getuid()).pw_gecos.split(",")[0]
        names |= {full, *full.split()}
    except (KeyError, OSError, ImportError):
        pass
    return names


def _own_folders() -> tuple[str, ...]:
    try:
        folders = {str(paths.data_dir()), str(paths.cache_dir()), str(paths.config_dir())}
    except TunerError:  # a bad settings file
        return ()
    return tuple(sorted(folders, key=len, reverse=True))


def cleaned(text: str, private: Private) -> Cleaned:
    """A text without secrets, names and paths; each is replaced by what it was."""
    result = Cleaned(text)

    def take(pattern: re.Pattern[str], what: str, replacement: str = r"[removed: {}]") -> None:
        result.text, count = pattern.subn(replacement.format(what), result.text)
        if count:
            result.removed[what] += count

    for secret in private.secrets:
        take(re.compile(re.escape(secret)), "a secret of the environment")
    take(PEM, "a key in PEM form")
    take(AUTHORIZATION, "a header with credentials", r"\1\2[removed: {}]")
    take(BEARER, "a header with credentials", r"\1 [removed: {}]")
    for what, pattern in SECRETS.items():
        take(re.compile(pattern.pattern + r"[A-Za-z0-9_.~+/=-]*"), what)
    take(SECRET_KEY, "a password or key", r"\1\2[removed: {}]")
    take(LOGIN, "credentials in a URL")
    take(PASSWORD, "a password or key")
    for folder in private.folders:
        take(re.compile(re.escape(folder)), "a folder of tuner-tui", "[…]")
    if private.home:
        take(re.compile(re.escape(private.home) + r"(?![\w.-])"), "the home folder", "~")
    take(PLACES, "a path")
    for name in private.names:
        take(re.compile(rf"(?i)(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])"), "a name")
    return result
