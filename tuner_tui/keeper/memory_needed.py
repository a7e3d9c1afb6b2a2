"""The free memory that a queued run needs to start."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tuner_tui.errors import TunerError
from tuner_tui.guarded import Unreadable

if TYPE_CHECKING:
    from tuner_tui.config.spec import RunSpec
    from tuner_tui.models.facts import ModelFacts
    from tuner_tui.planning.place import Place
    from tuner_tui.runs.folder import RunFolder


def memory_needed(folder: RunFolder) -> tuple[str, int | None]:
    """The device that a run is set to, and the least bytes that its plan needs there.

    Without an estimate in the plan, or after an out-of-memory error, the bytes of its weights alone. None if only the
    worker can tell; for an unreadable spec nothing is required here, and its worker reports the error.
    """
    from tuner_tui.config.spec_file import read_spec
    from tuner_tui.hardware.free_memory import read_free_memory
    from tuner_tui.models.facts import read_facts
    from tuner_tui.models.source import find_source
    from tuner_tui.planning.place import place_of
    from tuner_tui.planning.plan import planned, read_plan

    try:
        spec = read_spec(folder.spec)
        with contextlib.suppress(Unreadable):  # the worker reports what is wrong with the plan
            plan = read_plan(folder.plan)
            if plan.memory is not None and not plan.fallbacks:
                return spec.machine.device, plan.memory.low_bytes
            spec = planned(spec, plan)
        facts = read_facts(find_source(spec.model.source, spec.model.revision))
        device = spec.machine.device
        return device, base_bytes(spec, facts, place_of(read_free_memory(device)))
    except (TunerError, OSError):
        return "auto", None


def base_bytes(spec: RunSpec, facts: ModelFacts, place: Place) -> int | None:
    """Bytes of the base as a run loads it; None if the model's files do not tell."""
    from tuner_tui.planning.place import is_stored, loaded_precision, workload_of
    from tuner_tui.planning.shape import shape_of
    from tuner_tui.planning.states import loaded_weights

    if is_stored(facts):
        return facts.weight_bytes
    load = workload_of(spec, place, loaded_as=loaded_precision(spec, place))
    if (shape := shape_of(facts)) is not None:
        return loaded_weights(shape, load).total
    is_unquantised = load.loaded_as in (
        "fp32",
        "bf16",
    )  # which weights stay unquantised depends on the architecture
    return facts.parameters * load.weight_bytes if is_unquantised and facts.parameters is not None else None
