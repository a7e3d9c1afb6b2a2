"""Answers of a chat that were found good or bad, or better than another, kept in a collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.feedback.collections import open_or_create, rater_name
from tuner_tui.feedback.records import CollectionSettings, Judgement, NewAnswer, model_maker
from tuner_tui.generation.messages import Turn

if TYPE_CHECKING:
    from tuner_tui.generation.conversation import Conversation


def keep_thumb(name: str, talk: Conversation, place: int, *, is_good: bool) -> int:
    """Keep whether a candidate's last answer is good; gives how many judgements the collection has."""
    with open_or_create(name, None) as store:
        item = store.add_item(_prompt(talk, place), "chat", [_answer(talk, place)])
        (answer,) = store.item(item).answers
        judgement = Judgement(verdict="thumbs", shown=(answer.id,), scores=(int(is_good),))
        store.judge(item, judgement, rater_name())
        return store.kept()


def keep_better(name: str, talk: Conversation, place: int) -> int:
    """Keep that a candidate's last answer is better than the others'; gives how many judgements there are.

    Who gave which answer was seen, so this is no blind comparison; the note says so.
    """
    with open_or_create(name, None) as store:
        places = range(len(talk.candidates))
        item = store.add_item(_prompt(talk, place), "chat", [_answer(talk, each) for each in places])
        shown = tuple(answer.id for answer in store.item(item).answers)
        ranks = tuple(1 if each == place else 2 for each in places)
        judgement = Judgement(verdict="choice", shown=shown, ranks=ranks)
        store.judge(item, judgement, rater_name(), note="in a chat, not blind")
        return store.kept()


def keep_prompts(name: str, talk: Conversation) -> int:
    """Keep a chat's questions as prompts to be answered and judged later; gives how many were new."""
    with open_or_create(
        name, CollectionSettings(candidates=talk.candidates, sampling=talk.sampling)
    ) as store:
        known = store.prompts()
        new = [(Turn("user", question),) for question in talk.questions]
        rows = [(prompt, "chat", ()) for prompt in new if prompt not in known]
        store.add_items(rows)
        return len(rows)


def _prompt(talk: Conversation, place: int) -> tuple[Turn, ...]:
    return tuple(turn for turn in talk.turns(place) if turn.role != "system")


def _answer(talk: Conversation, place: int) -> NewAnswer:
    candidate, reply = talk.candidates[place], talk.replies[-1][place]
    maker = model_maker(
        candidate, template=reply.template, sampling=talk.sampling, seed=reply.seed, batch_size=1
    )
    return NewAnswer(text=reply.text, maker=maker, is_finished=reply.is_finished)
