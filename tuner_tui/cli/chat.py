"""`tuner-tui chat`: ask one or several models; in a terminal it opens the chat screen."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from tuner_tui.cli.numbers import Finite
from tuner_tui.errors import InputError
from tuner_tui.text import plain_lines

if TYPE_CHECKING:
    from tuner_tui.generation.client import Generators
    from tuner_tui.generation.conversation import Conversation


@click.command()
@click.argument("model", required=False)
@click.option("--side", "sides", multiple=True, metavar="MODEL[+ADAPTER]", help="Another model that answers.")
@click.option(
    "--system", default="", help="A system prompt for MODEL, which then answers with and without it."
)
@click.option(
    "--prompt", "prompts", multiple=True, help="Ask this, print the answers and exit; repeat for more turns."
)
@click.option(
    "--max-new-tokens",
    type=click.IntRange(1, 32768),
    default=256,
    show_default=True,
    help="Maximum length of an answer in tokens.",
)
@click.option(
    "--temperature",
    type=Finite(0, 10),
    default=0.7,
    show_default=True,
    help="Sampling temperature; 0 is greedy.",
)
@click.option(
    "--top-p",
    type=Finite(0, 1, min_open=True),
    default=0.95,
    show_default=True,
    help="Nucleus sampling: keep the likeliest tokens up to this total probability.",
)
@click.option(
    "--top-k",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Sample from this many likeliest tokens; 0 disables it.",
)
@click.option("--seed", type=click.IntRange(0, 2**31 - 1), help="The seed for sampling; random by default.")
@click.option(
    "--collection", default="chat", show_default=True, help="The collection for annotations of the answers."
)
@click.option("--share", is_flag=True, help="Load the model even while a run is training.")
@click.option("--json", "as_json", is_flag=True, help="Print answers as JSON, one object per line.")
def chat(
    model: str | None,
    sides: tuple[str, ...],
    system: str,
    prompts: tuple[str, ...],
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    top_k: int,
    seed: int | None,
    collection: str,
    share: bool,
    as_json: bool,
) -> None:
    """Ask MODEL (a folder, a GGUF file, a Hub name or "demo"), or MODEL+ADAPTER with a run's adapter.

    Without --prompt it opens the chat screen; without a terminal, each line of stdin is one turn.
    """
    from tuner_tui.feedback.collections import collection_path
    from tuner_tui.generation.candidates import candidate_of
    from tuner_tui.generation.client import Generators
    from tuner_tui.generation.conversation import Conversation
    from tuner_tui.generation.messages import Sampling

    collection_path(collection)
    names = [*([model] if model else []), *sides]
    if not names:
        raise InputError("No model to chat with", "No model was named.", "For example: tuner-tui chat demo")
    candidates = [candidate_of(name) for name in names]
    if system:
        candidates.append(candidate_of(names[0], system))
    if len(candidates) > 4:
        raise InputError("Too many models", f"{len(candidates)} were given; the maximum is four.")
    sampling = Sampling(max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, top_k=top_k)
    talk = Conversation(candidates=tuple(candidates), sampling=sampling)
    generators = Generators(may_share=share)
    if not prompts and sys.stdin.isatty() and sys.stdout.isatty():
        from tuner_tui.ui.app import main_app
        from tuner_tui.ui.screens.chat import ChatScreen

        main_app(ChatScreen(talk, collection, generators))
        return
    try:
        for prompt in prompts or (line.rstrip("\n") for line in sys.stdin):
            if prompt.strip():
                talk = _ask(talk, prompt, seed, generators, as_json=as_json)
    finally:
        generators.close()


def _ask(
    talk: Conversation, prompt: str, seed: int | None, generators: Generators, *, as_json: bool
) -> Conversation:
    from tuner_tui.generation.client import new_id, new_seed
    from tuner_tui.generation.conversation import Reply, why_stopped
    from tuner_tui.generation.messages import Generate

    talk = talk.asking(prompt)
    for place, candidate in enumerate(talk.candidates):
        request = Generate(
            id=new_id(),
            turns=talk.turns(place),
            sampling=talk.sampling,
            seed=new_seed() if seed is None else seed,
            adapter=candidate.adapter,
            is_alone=True,
        )
        answer = generators.of(candidate.base).ask(request)
        reply = Reply(
            text=answer.text,
            is_done=True,
            is_finished=answer.is_finished,
            stopped=why_stopped(answer, talk.sampling),
            tokens=answer.tokens,
            seed=answer.seed,
        )
        talk = talk.replying(len(talk.questions) - 1, place, reply)
        if as_json:
            row = {
                "side": candidate.name,
                "prompt": prompt,
                "answer": answer.text,
                "finished": answer.is_finished,
                "tokens": answer.tokens,
                "seconds": round(answer.seconds, 3),
                "seed": answer.seed,
            }
            click.echo(json.dumps(row, ensure_ascii=False))
            continue
        if len(talk.candidates) > 1:
            click.echo(click.style(f"[{candidate.name}]", bold=True))
        more = "; --max-new-tokens raises it" if reply.stopped == "limit" else ""
        ending = f" [{reply.stopped_words}{more}]" if reply.stopped else ""
        click.echo(f"{plain_lines(answer.text.strip())}{ending}")
    return talk
