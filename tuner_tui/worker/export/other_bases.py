"""How an adapter from a 4-bit or 8-bit run behaves on bases other than the one it was trained on."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

from tuner_tui.errors import TunerError
from tuner_tui.runs.export_events import Variant
from tuner_tui.worker.export import readers
from tuner_tui.worker.export.comparison import EXACT, compare

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tuner_tui.worker.export.comparison import Answer
    from tuner_tui.worker.export.rounds import Rounds
    from tuner_tui.worker.export.source import ExportSource

OTHER_BASES = 3
"""How many the adapter is run on."""


def on_other_bases(source: ExportSource, answers: Sequence[Answer], rounds: Rounds) -> tuple[Variant, ...]:
    """The adapter merged into the dequantised base, and on the original weights in fp32 and bf16.

    Each runs on the trained model's answers. One that does not fit in memory is listed with the reason.
    """
    ways: tuple[tuple[str, Callable[[], Any]], ...] = (
        ("merged into the dequantised base", lambda: _merged(source)),
        ("on the original weights in fp32", lambda: _on_original(source)),
        ("on the original weights in bf16", lambda: _on_original(source).bfloat16()),
    )
    return tuple(_asked(name, load, source, answers, rounds) for name, load in ways)


def _asked(
    name: str, load: Callable[[], Any], source: ExportSource, answers: Sequence[Answer], rounds: Rounds
) -> Variant:
    try:
        model = load()
    except TunerError as error:
        rounds.leave_out("comparisons", len(answers))
        return Variant(name=name, problem=error.title)
    agreement, _ = compare(answers, model, EXACT, source.tokenizer.decode, rounds.begin("comparisons"))
    del model
    gc.collect()
    return Variant(name=name, agreement=agreement)


def _on_original(source: ExportSource) -> Any:
    return readers.load_trained(source.base, source.adapter, "files", source.compute)


def _merged(source: ExportSource) -> Any:
    """The merged model in memory, without writing it to disk."""
    model = readers.load_model(source.base).eval()
    weights = source.merged()
    parameters = dict(model.named_parameters())
    for name, live in weights.base.live.items():
        if live.name not in parameters or live.name in weights.base.conversions:
            continue
        place = parameters[live.name].data
        if live.expert is not None:
            place = place[live.expert].chunk(live.pieces)[live.piece]
        place.copy_(weights.read(name))
    for conversion in weights.base.conversions.values():
        for name, value in weights.read_converted(conversion).items():
            if name in parameters:
                parameters[name].data.copy_(value)
    return model
