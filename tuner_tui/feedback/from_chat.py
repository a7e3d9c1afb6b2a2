"""Saves ratings of chat answers (good, bad, better than the others) in a collection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.feedback.collections import annotator_name, open_or_create
from tuner_tui.feedback.records import Annotation, CollectionSettings, NewAnswer, model_maker
from tuner_tui.generation.messages import Turn

if TYPE_CHECKING:
    from tuner_tui.generation.conversation import Conversation


def keep_thumb(name: str, talk: Conversation, place: int, *, is_good: bool) -> int:
    """Save whether a candidate's last answer is good; returns the collection's number of annotations."""
    with open_or_create(name, None) as store:
        item = store.add_item(_prompt(talk, place), "chat", [_answer(talk, place)])
        (answer,) = store.item(item).answers
        annotation = Annotation(verdict="thumbs", shown=(answer.id,), scores=(int(is_good),))
        store.annotate(item, annotation, annotator_name())
        return store.annotation_count()


def keep_better(name: str, talk: Conversation, place: int) -> int:
    """Save that a candidate's last answer is better than the others'; returns the number of annotations.

    The models' names were visible, so this is no blind comparison; the entry's note says so.
    """
    with open_or_create(name, None) as store:
        places = range(len(talk.candidates))
        item = store.add_item(
            _prompt(talk, place), "chat", [_answer(talk, candidate) for candidate in places]
        )
        shown = tuple(answer.id for answer in store.item(item).answers)
        ranks = tuple(1 if candidate == place else 2 for candidate in places)
        annotation = Annotation(verdict="choice", shown=shown, ranks=ranks)
        store.annotate(item, annotation, annotator_name(), note="in a chat, not blind")
        return store.annotation_count()


def keep_prompts(name: str, talk: Conversation) -> int:
    """Save a chat's questions as prompts to answer and annotate later; returns how many were new."""
    with open_or_create(
        name, CollectionSettings(candidates=talk.candidates, sampling=talk.sampling)
    ) as store:
        known_prompts = store.prompts()
        new = [(Turn("user", question),) for question in talk.questions]
        rows = [(prompt, "chat", ()) for prompt in new if prompt not in known_prompts]
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
