"""How much memory must be free before a run is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.errors import TunerError

if TYPE_CHECKING:
    from tuner_tui.runs.folder import RunFolder


def memory_needed(folder: RunFolder) -> tuple[str, int | None]:
    """The device that a run asks for, and the bytes that its weights alone take there: less can never do.

    None where only the worker can tell; a spec that cannot be read needs nothing here and fails in its worker.
    """
    from tuner_tui.config.spec_file import read_spec
    from tuner_tui.hardware.free_memory import read_free_memory
    from tuner_tui.models.facts import read_facts
    from tuner_tui.models.source import find_source
    from tuner_tui.planning.weights import held_as, weigh

    try:
        spec = read_spec(folder.spec)
        facts = read_facts(find_source(spec.model.source, spec.model.revision))
        device = spec.machine.device
        held = held_as(spec.model.precision, spec.tuning.kind, read_free_memory(device).is_gpu)
        return device, weigh(facts).get(held) if held is not None else None
    except (TunerError, OSError):
        return "auto", None
