"""What a word or a short phrase of an annotator says of answers: which is better, a tie, both bad, or nothing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from tuner_tui.data.recognition.answer_columns import Answers

Kind = Literal["choice", "tie", "both bad", "none", "unknown", "number"]


class Word(NamedTuple):
    """What a verdict in words says; `number` is one that nothing relates to an answer."""

    kind: Kind
    place: int = -1
    """The answer that is preferred, from 0."""
    is_slight: bool = False


NONE_WORDS = (
    "", "nan", "null", "<na>", "n a", "na", "skip", "skipped", "unsure", "not sure", "unknown", "cannot decide", "pass",
)  # fmt: skip
"""No verdict was given."""
_TIE = {
    "tie", "ties", "tied", "draw", "equal", "equally", "same", "neutral", "both", "neither", "none", "either",
    "similar", "bothgood",
}  # fmt: skip
_NO_PREFERENCE = ({"no", "preference"}, {"no", "difference"}, {"no", "winner"}, {"about", "equal"})
_BAD = {"bad", "poor", "unacceptable", "wrong", "unusable"}
_GOOD = {"good", "acceptable", "ok", "okay", "fine"}
_OF_ALL = {"both", "neither", "none", "all", "equally"}
_TIE_FILLER = {
    "the", "are", "is", "of", "them", "answers", "answer", "responses", "response", "models", "model", "about", "a",
    "or",
    "and", "in", "quality", "both", "it", "s", "these", "two", "approximately", "roughly", "nearly", "almost",
}  # fmt: skip
_FILLER = {
    "model", "response", "answer", "assistant", "output", "completion", "generation", "candidate", "conversation",
    "text",
    "summary", "reply", "messages", "message", "option", "human", "ref", "solution", "translation", "the", "is", "was",
    "i", "would", "much", "far", "clearly", "strongly", "significantly", "very", "better", "best", "wins", "win", "won",
    "winner",
    "preferred", "prefer", "prefers", "preference", "chosen", "choose", "selected", "side",
}  # fmt: skip
_SLIGHT = {"slightly", "marginally", "somewhat", "barely", "weakly", "little", "bit"}
_CUT = re.compile(r"\b(?:than|over|beats|to)\b")
_COMPARED = re.compile(r"([a-z0-9_ ]+?)\s*(>+|<+|≻+|=+)\s*([a-z0-9_ ]+)")
_ARTICLE = re.compile(r"\ba (?=(?:bit|little|lot|better|much|good|slightly|clear|far)\b)")
_TOKENS = re.compile(r"[a-z]+|\d+(?:st|nd)?")
_ORDINALS = {"1st": "first", "2nd": "second"}


def word_of(text: str, answers: Answers) -> Word:
    """What a text says of some answers."""
    spoken = text.strip().lower().strip("\"'`*.!").strip()
    bracketed = re.fullmatch(r"\[\[(.+)\]\]", spoken)
    if bracketed:  # as judges are asked to write
        spoken = bracketed[1].strip()
        if spoken == "c" and len(answers.names) == 2:
            return Word("tie")
    plain = " ".join(re.findall(r"[a-z0-9<>]+", spoken))
    if plain in NONE_WORDS:
        return Word("none")
    if (place := answers.place_of_name(spoken)) is not None:
        return Word("choice", place)
    if compared := _COMPARED.fullmatch(spoken):
        return _compared(compared, answers)
    tokens = [_ORDINALS.get(token, token) for token in _TOKENS.findall(spoken)]
    if all_of := _of_all(tokens):
        return all_of
    before = _CUT.split(spoken)[0] if _CUT.search(spoken) else spoken
    return _choice(before, answers)


def _compared(match: re.Match[str], answers: Answers) -> Word:
    """Such as "A > B" or "A=B"."""
    left, right = _choice(match[1], answers), _choice(match[3], answers)
    if "choice" not in (left.kind, right.kind) or left.kind != right.kind or left.place == right.place:
        return Word("number" if "number" in (left.kind, right.kind) else "unknown")
    if "=" in match[2]:
        return Word("tie")
    return left if match[2][0] in ">≻" else right


def _of_all(tokens: list[str]) -> Word | None:
    """A verdict on all answers at once."""
    words = {*tokens}
    if words & {"bothbad", "allbad"} or (words & _OF_ALL and words & _BAD):
        return Word("both bad")
    if words & {"neither", "none"} and words & _GOOD:
        return Word("both bad")
    is_tie = bool(words & _TIE) or any(pair <= words for pair in _NO_PREFERENCE)
    known = _TIE | _GOOD | _TIE_FILLER | {word for pair in _NO_PREFERENCE for word in pair} | {"better"}
    return Word("tie") if is_tie and words <= known else None


def _choice(spoken: str, answers: Answers) -> Word:
    is_slight = False
    text = _ARTICLE.sub("", spoken).removesuffix(" one")
    places: set[int] = set()
    is_number = False
    for token in (_ORDINALS.get(each, each) for each in _TOKENS.findall(text)):
        place = answers.place_of_mark(token)
        if place is not None:
            places.add(place)
        elif token in _SLIGHT:
            is_slight = True
        elif token.isdigit():
            is_number = True
        elif token not in _FILLER and token != "lot":
            return Word("unknown")
    if is_number:
        return Word("number")
    if len(places) != 1:
        return Word("unknown")
    return Word("choice", places.pop(), is_slight)
