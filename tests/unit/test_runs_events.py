"""The event protocol: every class there and back, numbers that are none, and lines nobody understands."""

from __future__ import annotations

import json
import math
import types
import typing
from typing import Any

import msgspec
import pytest

from tuner_tui.hardware.gpu import GpuReport
from tuner_tui.keeper.heartbeat import Beat
from tuner_tui.planning.measurement import Measured
from tuner_tui.planning.oom_fallback import FallbackStep, Shape, apply_fallbacks, next_fallback
from tuner_tui.planning.plan import Choice, Plan
from tuner_tui.runs import events
from tuner_tui.runs.events import (
    ChoicesMade,
    ChosenMachine,
    Event,
    EventBase,
    FallbackTaken,
    RunFinished,
    RunStarted,
    StepLogged,
    Warned,
    decode,
    decode_lines,
    encode,
    finite,
    machine_of,
    setup_of,
)
from tuner_tui.runs.model_setup import ModelSetup
from tuner_tui.runs.state import RunSnapshot, RunState

CLASSES: tuple[type[EventBase], ...] = typing.get_args(Event)


def example(annotation: Any) -> Any:
    """A value of a field's type that is no default."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return example(next(kind for kind in arguments if kind is not type(None)))
    if origin is typing.Literal:
        return arguments[-1]
    if origin is tuple:
        return (example(arguments[0]),) * 2
    if origin is dict:
        return {"a key": example(arguments[1])}
    return {
        int: 7,
        float: 0.1 + 0.2,
        str: 'é "x"\n\x1b[31m\u2028',
        bool: True,
        Choice: Choice(name="n", value="v", reason="r"),
        ChosenMachine: ChosenMachine(
            device="cuda", device_name="RTX 4070", precision="nf4", arithmetic="bf16", is_mixed=True
        ),
        ModelSetup: ModelSetup(is_multimodal=True, is_partly_adapted=True, is_without_router_loss=True),
        FallbackStep: FallbackStep(kind="free", before="b", after="a", reason="r"),
        Shape: Shape(micro_batch=2, batch_size=4, is_checkpointing=True, at_least=2),
    }[annotation]


def full(kind: type[EventBase]) -> Event:
    """An event with every field set."""
    values = {name: example(hint) for name, hint in typing.get_type_hints(kind).items() if name[0] != "_"}
    event: Event = kind(**values)  # type: ignore[assignment]
    return event


def bare(kind: type[EventBase]) -> Event:
    """An event with only the fields that it needs."""
    hints = typing.get_type_hints(kind)
    needed = {
        field.name: example(hints[field.name]) for field in msgspec.structs.fields(kind) if field.required
    }
    event: Event = kind(at=1.5, **needed)  # type: ignore[assignment]
    return event


def test_every_event_class_is_a_member_of_the_union() -> None:
    declared = {
        value
        for value in vars(events).values()
        if isinstance(value, type) and issubclass(value, EventBase) and value is not EventBase
    }
    assert set(CLASSES) == declared
    tags = [kind.__struct_config__.tag for kind in CLASSES]
    assert len(set(tags)) == len(tags)


@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("make", [full, bare])
def test_there_and_back(kind: type[EventBase], make: Any) -> None:
    event = make(kind)
    line = encode(event)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode(line) == event
    assert decode_lines(line * 3) == [event] * 3
    assert json.loads(line)["event"] == kind.__struct_config__.tag


def test_an_event_without_a_time_is_stamped() -> None:
    back = decode(encode(Warned(message="m")))
    assert back is not None
    assert back.at > 1e9
    assert decode(encode(Warned(message="m", at=2.5))) == Warned(message="m", at=2.5)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_written_as_null(number: float) -> None:
    line = encode(StepLogged(step=1, total_steps=2, epoch=0.5, loss=number, grad_norm=number, at=1.0))
    parsed = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} in {line!r}"))
    assert parsed["loss"] is None
    back = decode(line)
    assert isinstance(back, StepLogged)
    assert back.loss is None
    assert back.grad_norm is None
    assert finite(number) is None
    assert finite(0.5) == 0.5
    assert finite(None) is None


@pytest.mark.parametrize(
    "line",
    [
        b'{"event":"teleported","to":"Mars"}',
        b'{"at":1.0}',
        b'{"event":"warning"}',
        b'{"event":"warning","message":7}',
        b'{"event":"warning","message":"\xff"}',
        b'{"event":"warn',
        b"[1, 2]",
        b"\x00\x00\x00",
        b"",
    ],
)
def test_a_line_nobody_understands_is_skipped(line: bytes) -> None:
    known = Warned(message="known", at=1.0)
    assert decode(line) is None
    assert decode_lines(encode(known) + line + b"\n" + encode(known)) == [known, known]


def test_a_newer_protocol_may_say_more() -> None:
    line = b'{"event":"started","at":3.0,"protocol":9,"versions":{"x":"1"},"mood":{"is":["good"]}}\n'
    assert decode(line) == RunStarted(protocol=9, versions={"x": "1"}, at=3.0)
    assert decode_lines(line) == [RunStarted(protocol=9, versions={"x": "1"}, at=3.0)]


def test_the_terminal_events_are_those_that_end_a_run() -> None:
    assert {kind.__name__ for kind in events.TERMINAL} == {"RunFinished", "RunStopped", "RunFailed"}
    assert isinstance(bare(RunFinished), events.TERMINAL)


OLD_CHOICES = (
    b'{"event":"choices","at":1.0,"choices":['
    b'{"name":"device","value":"cuda","reason":"NVIDIA GeForce RTX 4070"},'
    b'{"name":"precision","value":"nf4","reason":"the least memory"},'
    b'{"name":"arithmetic","value":"bf16 (mixed)","reason":"this card computes bf16 natively"}]}'
)


def test_choices_of_earlier_versions_tell_the_machine() -> None:
    event = decode(OLD_CHOICES)
    assert isinstance(event, ChoicesMade) and event.machine is None
    expected = ChosenMachine(
        device="cuda",
        device_name="NVIDIA GeForce RTX 4070",
        precision="nf4",
        arithmetic="bf16",
        is_mixed=True,
    )
    assert machine_of(event) == expected
    new = ChoicesMade(choices=event.choices, machine=expected)
    assert decode(encode(new)) is not None and machine_of(new) == expected


def test_other_choices_are_of_no_machine() -> None:
    micro_batch = Choice(name="micro-batch", value="8", reason="as asked")
    assert machine_of(ChoicesMade(choices=(micro_batch,))) is None
    nonsense = tuple(
        Choice(name=name, value="?", reason="") for name in ("device", "precision", "arithmetic")
    )
    assert machine_of(ChoicesMade(choices=nonsense)) is None


def test_fallback_steps_of_earlier_versions_are_read() -> None:
    old = b'{"event":"rung","at":1.0,"rung":{"kind":"micro_batch","before":"4 x 2","after":"2 x 4","reason":""}}'
    event = decode(old)
    assert isinstance(event, FallbackTaken) and event.fallback.micro_batch == 2
    assert decode(old.replace(b'"2 x 4"', b'"fewer"')) is None
    shape = Shape(micro_batch=4, batch_size=8, is_checkpointing=False)
    assert apply_fallbacks(shape, (event.fallback,)) == Shape(
        micro_batch=2, batch_size=8, is_checkpointing=False
    )


def test_fallback_steps_change_the_shape_by_their_values() -> None:
    shape = Shape(micro_batch=8, batch_size=8, is_checkpointing=False)
    fallbacks: tuple[FallbackStep, ...] = ()
    shapes = [shape]
    while fallback := next_fallback(
        shapes[-1], fallbacks, ("free", "micro_batch", "checkpointing"), has_made_steps=True
    ):
        fallbacks = (*fallbacks, fallback)
        shapes.append(apply_fallbacks(shape, fallbacks))
    assert [each.micro_batch for each in shapes] == [8, 8, 4, 2, 1, 1]
    assert [each.is_checkpointing for each in shapes] == [False] * 5 + [True]


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (FallbackTaken, "rung"),
        (Plan, "rungs"),
        (RunSnapshot, "rungs"),
        (Measured, "held"),
        (Beat, "trouble"),
        (GpuReport, "card_present"),
    ],
)
def test_names_in_files_and_json_output_stay(kind: type[msgspec.Struct], name: str) -> None:
    """Renamed attributes keep the names under which earlier versions and scripts know them."""
    assert name in kind.__struct_encode_fields__


OLD_SETUPS = (
    ("model class", ModelSetup(is_multimodal=True)),
    ("adapted part", ModelSetup(is_partly_adapted=True)),
    ("adapted layers", ModelSetup(is_partly_adapted=True)),
    ("router loss", ModelSetup(is_without_router_loss=True)),
    ("micro-batch", ModelSetup()),
)


@pytest.mark.parametrize(("name", "setup"), OLD_SETUPS)
def test_choices_of_earlier_versions_tell_the_models_setup(name: str, setup: ModelSetup) -> None:
    line = f'{{"event":"choices","choices":[{{"name":"{name}","value":"x","reason":"y"}}]}}'.encode()
    event = decode(line)
    assert isinstance(event, ChoicesMade) and event.setup is None and setup_of(event) == setup
    state = RunState()
    state.apply(event)
    assert state.snapshot().setup == setup


def test_a_typed_setup_needs_no_titles_and_adds_up() -> None:
    state = RunState()
    for setup in (ModelSetup(is_multimodal=True), ModelSetup(is_without_router_loss=True)):
        event = decode(encode(ChoicesMade(choices=(), setup=setup)))
        assert isinstance(event, ChoicesMade) and event.setup == setup
        state.apply(event)
    assert state.snapshot().setup == ModelSetup(is_multimodal=True, is_without_router_loss=True)
    titled = ChoicesMade(choices=(Choice(name="model class", value="x", reason=""),), setup=ModelSetup())
    assert setup_of(titled) == ModelSetup()
