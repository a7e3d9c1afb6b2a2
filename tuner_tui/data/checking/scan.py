"""Finding what should not be trained on: secrets, addresses, broken letters, invisible characters."""

from __future__ import annotations

import re

UNWANTED = (
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u061c\u2060\ufeff\u202a-\u202e\u2066-\u2069]"
)
"""Control, direction and zero-width characters; joiners stay, which emoji and several scripts need."""
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_HIDDEN = re.compile("[\u200b\u200e\u200f\u061c\u2060\ufeff\u202a-\u202e\u2066-\u2069]")
_MOJIBAKE = re.compile(
    "\ufffd|\u00c3[\u0080-\u00bf\u201a-\u203a\u0152\u0153\u0160\u0161\u017d\u017e\u0178\u02c6\u02dc\u20ac\u2122]"
    "|\u00e2\u20ac[\u0080-\u2122]|\u00c2[\u00a0-\u00bf]|\u00f0\u0178[\u0080-\u2122]"
)
_SECRETS: dict[str, re.Pattern[str]] = {
    beginning: re.compile(rest)
    for beginnings, rest in (
        (("sk-",), r"sk-(?:proj-|ant-)?[A-Za-z0-9_-]{20,}"),
        (("AKIA", "ASIA"), r"A[KS]IA[0-9A-Z]{16}\b"),
        (("ghp_", "gho_", "ghu_", "ghs_", "ghr_"), r"gh[pousr]_[A-Za-z0-9]{36,}"),
        (("github_pat_",), r"github_pat_[A-Za-z0-9_]{22,}"),
        (("hf_",), r"hf_[A-Za-z0-9]{30,}"),
        (("xoxa-", "xoxb-", "xoxp-", "xoxr-", "xoxs-"), r"xox[abprs]-[A-Za-z0-9-]{10,}"),
        (("AIza",), r"AIza[0-9A-Za-z_-]{35}"),
        (("glpat-",), r"glpat-[A-Za-z0-9_-]{20,}"),
        (("-----BEGIN ",), r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
        (("eyJ",), r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    )
    for beginning in beginnings
}
"""How keys and tokens of well-known services look, by their beginning, which is quickly looked for."""
_SECRETS_BY_MARK = {
    mark: {
        beginning: pattern
        for beginning, pattern in _SECRETS.items()
        if mark == next((each for each in "_-" if each in beginning), "")
    }
    for mark in ("_", "-", "")
}
_MAIL = re.compile(r"\b[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})*\.[A-Za-z]{2,24}\b")
_CONTROL_BYTES = bytes(range(0x20)).translate(None, b"\t\n\r") + b"\x7f"
_EXAMPLE_MAILS = ("@example.", "@test.", "noreply@")

KINDS = ("control characters", "hidden characters", "mojibake", "secrets", "e-mail addresses")


def suspicions(text: str) -> list[str]:
    """Which kinds of unwanted things a text holds."""
    found = []
    if not text.isascii():
        if _CONTROL.search(text):
            found.append("control characters")
        if _HIDDEN.search(text):
            found.append("hidden characters")
        if _MOJIBAKE.search(text):
            found.append("mojibake")
    elif has_control_bytes(text.encode()):
        found.append("control characters")
    if holds_secret(text):
        found.append("secrets")
    if holds_mail(text):
        found.append("e-mail addresses")
    return found


def has_control_bytes(data: bytes) -> bool:
    """Whether ASCII control characters besides tab and line ends are in UTF-8 bytes."""
    return len(data.translate(None, _CONTROL_BYTES)) != len(data)


def is_clean(text: str) -> bool:
    """Whether a text, of one row or of many, cannot hold anything unwanted: quick, and sure when it says so."""
    if not text.isascii():
        return False
    if has_control_bytes(text.encode()):
        return False
    return "@" not in text and not holds_secret(text)


def holds_secret(text: str) -> bool:
    """Whether a text holds what looks like a key, a token or a private key."""
    return any(
        beginning in text and _stands_in(text, beginning, pattern)
        for mark, secrets in _SECRETS_BY_MARK.items()
        if mark in text
        for beginning, pattern in secrets.items()
    )


def _stands_in(text: str, beginning: str, pattern: re.Pattern[str]) -> bool:
    """Whether a pattern matches where a word begins so."""
    at = text.find(beginning)
    while at >= 0:
        if (at == 0 or not text[at - 1].isalnum()) and pattern.match(text, at):
            return True
        at = text.find(beginning, at + 1)
    return False


def holds_mail(text: str) -> bool:
    """Whether a text holds an e-mail address that is not an evident example."""
    at = text.find("@")
    while at >= 0:
        near = text[max(0, at - 65) : at + 130]
        found = next((match[0] for match in _MAIL.finditer(near) if "@" in match[0]), "")
        if found and not any(word in found for word in _EXAMPLE_MAILS):
            return True
        at = text.find("@", at + 1)
    return False


def has_secret(text: str) -> bool:
    """Whether a text holds a likely secret or an e-mail address."""
    return holds_secret(text) or holds_mail(text)
