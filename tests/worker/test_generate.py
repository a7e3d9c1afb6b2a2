"""The generation worker as apps use it: a real process, a tiny real model, and plain transformers to compare with."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import torch

from tuner_tui.errors import TunerError
from tuner_tui.generation import client as client_module
from tuner_tui.generation.client import GenerationClient, Generators, MachineBusy, new_id
from tuner_tui.generation.messages import (
    Answered,
    Base,
    Candidate,
    Failed,
    Generate,
    Grew,
    Reply,
    Sampling,
    Told,
    Turn,
)
from tuner_tui.runs import lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tuner_tui.runs.folder import RunFolder

SAMPLED = Sampling(max_new_tokens=24, temperature=0.8, top_p=0.9, top_k=40)
GREEDY = Sampling(max_new_tokens=24, temperature=0)
LONG = Sampling(max_new_tokens=400, temperature=1.0, top_p=1.0)
QUESTIONS = ("Why?", "What is the matter with all of you today?", "Who are you, and where?")


@pytest.fixture(scope="module")
def adapters(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two adapters whose weights are far from nothing."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    found = []
    for seed in (1, 2):
        base = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
        torch.manual_seed(seed)
        config = LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
        tuned = get_peft_model(base, config)
        folder = tmp_path_factory.mktemp("adapters") / f"adapter-{seed}"
        tuned.save_pretrained(str(folder))
        found.append(folder)
    return found


@pytest.fixture(scope="module")
def speaker(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GenerationClient]:
    """One worker for all tests that do not kill it."""
    old = os.environ.get("TUNER_TUI_HOME")
    os.environ["TUNER_TUI_HOME"] = str(tmp_path_factory.mktemp("home"))
    client = GenerationClient(Base(source=str(tiny_model), precision="fp32", device="cpu"), threads=1)
    client.ask(request("Hello?", GREEDY))
    if old is not None:
        os.environ["TUNER_TUI_HOME"] = old
    yield client
    client.close()


def request(text: str, sampling: Sampling, **more: Any) -> Generate:
    return Generate(id=new_id(), turns=(Turn("user", text),), sampling=sampling, **({"seed": 7} | more))


def plainly(model_folder: Path, adapter: Path | None, text: str, sampling: Sampling, seed: int) -> str:
    """What anybody gets from transformers and PEFT."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model: Any = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
    model.eval()
    ids: Any = tokenizer.apply_chat_template(
        [{"role": "user", "content": text}], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    torch.manual_seed(seed)
    options: dict[str, Any] = {"do_sample": False}
    if sampling.temperature:
        options = {
            "do_sample": True,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k,
        }
    out = model.generate(**ids, max_new_tokens=sampling.max_new_tokens, **options)
    return str(tokenizer.decode(out[0, ids["input_ids"].shape[1] :], skip_special_tokens=True))


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_alone_the_answers_are_those_of_plain_transformers(
    speaker: GenerationClient, tiny_model: Path, adapters: list[Path], sampling: Sampling
) -> None:
    voices = [None, *adapters]
    answers = []
    for adapter in (*voices, *voices):  # there and back again
        name = str(adapter) if adapter else None
        answers.append(speaker.ask(request(QUESTIONS[0], sampling, adapter=name, is_alone=True)).text)
    expected = [plainly(tiny_model, adapter, QUESTIONS[0], sampling, 7) for adapter in voices]
    assert answers == expected * 2
    assert len(set(expected)) == 3


def together(client: GenerationClient, requests: list[Generate]) -> list[Answered]:
    """Ask many at once."""
    found: dict[str, Answered] = {}
    done = threading.Semaphore(0)

    def listen(reply: Reply) -> None:
        assert not isinstance(reply, Failed), reply
        if isinstance(reply, Answered):
            found[reply.id] = reply
            done.release()

    for each in requests:
        client.submit(each, listen)
    for _ in requests:
        assert done.acquire(timeout=60)
    return [found[each.id] for each in requests]


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
def test_an_answer_does_not_depend_on_its_batch(speaker: GenerationClient, sampling: Sampling) -> None:
    asked = [request(text, sampling, seed=seed) for seed, text in enumerate(QUESTIONS)]
    batched = together(speaker, asked)
    assert {each.batch_size for each in batched} == {3}
    for single, answer in zip(asked, batched, strict=True):
        again = together(
            speaker, [Generate(id=new_id(), turns=single.turns, sampling=sampling, seed=single.seed)]
        )
        assert (again[0].text, again[0].batch_size) == (answer.text, 1)


def test_seeds_make_answers_differ_and_come_again(speaker: GenerationClient) -> None:
    seeds = [1, 2, 3, 1]
    texts = [each.text for each in together(speaker, [request("Why?", LONG, seed=seed) for seed in seeds])]
    assert texts[0] == texts[3]
    assert len(set(texts)) == 3


def test_switching_adapters_loads_nothing_again(speaker: GenerationClient, adapters: list[Path]) -> None:
    short = Sampling(max_new_tokens=1, temperature=0)
    names = [str(adapters[0]), None, str(adapters[1])]
    for name in names:
        speaker.ask(request("Why?", short, adapter=name))
    same = min(_timed(lambda: speaker.ask(request("Why?", short, adapter=names[0]))) for _ in range(5))
    turns = []
    for name in names * 3:
        turns.append(_timed(lambda name=name: speaker.ask(request("Why?", short, adapter=name))))  # type: ignore[misc]
    assert speaker.starts == 1
    assert min(turns) < same + 0.2


def test_an_adapter_with_a_template_of_its_own_is_asked_by_it(
    speaker: GenerationClient, tiny_model: Path, adapters: list[Path], tmp_path: Path
) -> None:
    mine = tmp_path / "mine"
    shutil.copytree(adapters[0], mine)
    template = "{% for message in messages %}<{{ message['content'] }}>{% endfor %}"
    (mine / "chat_template.jinja").write_text(template)
    model, renamed = tmp_path / "model", request("Who are you?", GREEDY, adapter=str(mine))
    shutil.copytree(tiny_model, model)
    (model / "chat_template.jinja").write_text(template)
    told = together(speaker, [renamed, request("Who are you?", GREEDY, adapter=str(adapters[0]))])
    assert told[0].text == plainly(model, mine, "Who are you?", GREEDY, 7) != told[1].text
    assert told[0].template != told[1].template


def is_there(client: GenerationClient) -> bool:
    return client.pid is not None


def _timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def test_answers_grow_and_can_be_cancelled_one_by_one(speaker: GenerationClient) -> None:
    # a tiny model ends by chance: long answers that go on are found by their seeds
    asked = [request("Why?", LONG, seed=seed) for seed in range(6)]
    unwanted = {each.id for each in asked[:3]}
    grown: dict[str, list[str]] = {each.id: [] for each in asked}
    last: dict[str, Answered] = {}
    done = threading.Semaphore(0)

    def listen(reply: Reply) -> None:
        if isinstance(reply, Grew):
            grown[reply.id].append(reply.text)
            if reply.id in unwanted:
                speaker.cancel(reply.id)
        if isinstance(reply, Answered):
            last[reply.id] = reply
            done.release()

    for each in asked:
        speaker.submit(each, listen)
    for _ in asked:
        assert done.acquire(timeout=60)
    cancelled = [last[name] for name in unwanted if not last[name].is_finished]
    assert cancelled and all(each.is_cancelled for each in cancelled)
    assert all(each.tokens < LONG.max_new_tokens for each in cancelled)
    others = [last[each.id] for each in asked[3:]]
    assert not any(each.is_cancelled for each in others)
    for each in asked:
        texts = [*grown[each.id], last[each.id].text]
        assert all(after.startswith(before) for before, after in itertools.pairwise(texts))


def test_a_request_that_waits_can_be_cancelled(speaker: GenerationClient) -> None:
    first = request("Why?", LONG, is_alone=True)
    second = request("Why?", LONG, is_alone=True)
    replies: list[Reply] = []
    done = threading.Event()
    speaker.submit(first, lambda reply: done.set() if isinstance(reply, Answered) else None)
    speaker.submit(second, replies.append)
    speaker.cancel(second.id)
    assert done.wait(60)
    speaker.ask(request("Hello?", GREEDY))
    assert [type(reply) for reply in replies][-1] is Answered
    assert isinstance(replies[-1], Answered)
    assert replies[-1].is_cancelled


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (request("word " * 20_000, GREEDY), "too long"),
        (request("Why?", GREEDY, adapter="/nowhere"), "Not an adapter"),
    ],
)
def test_what_cannot_be_answered_is_told_and_the_worker_stays(
    speaker: GenerationClient, asked: Generate, words: str
) -> None:
    with pytest.raises(TunerError, match=words):
        speaker.ask(asked)
    assert speaker.ask(request("Why?", GREEDY)).text
    assert speaker.starts == 1


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    client = GenerationClient(Base(source=str(tmp_path / "model"), device="cpu"), threads=1)
    with pytest.raises(TunerError, match="cannot be loaded"):
        client.ask(request("Why?", GREEDY), 60)
    client.close()


@pytest.mark.slow
def test_killed_and_idle_workers_lose_nothing(tiny_model: Path) -> None:
    states: list[str] = []
    base = Base(source=str(tiny_model), precision="fp32", device="cpu")
    client = GenerationClient(base, threads=1, idle_seconds=0.5, on_state=states.append)
    asked = [request("Why?", SAMPLED, seed=seed) for seed in range(5)]
    told: list[str] = []
    found: dict[str, str] = {}
    pids: list[int | None] = []
    done = threading.Semaphore(0)

    def listen(reply: Reply) -> None:
        if isinstance(reply, Told):
            told.append(reply.words)
        if isinstance(reply, Answered):
            found[reply.id] = reply.text
            pids.append(client.pid)
            done.release()

    for each in asked:
        client.submit(each, listen)
    assert client.pid is not None
    os.kill(client.pid, signal.SIGKILL)
    for _ in asked:
        assert done.acquire(timeout=90)
    assert client.starts == 2
    assert any("killed" in words for words in told)
    assert set(found) == {each.id for each in asked}

    worker = pids[-1]
    assert worker is not None
    deadline = time.monotonic() + 30
    while is_there(client):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert states[-1] == "idle, model unloaded"
    assert not psutil.pid_exists(worker)
    assert (
        client.ask(Generate(id=new_id(), turns=asked[0].turns, sampling=SAMPLED, seed=0), 90).text
        == found[asked[0].id]
    )
    assert client.starts == 3
    worker = client.pid
    client.close()
    assert worker is not None and not psutil.pid_exists(worker)


@pytest.mark.slow
def test_a_request_that_kills_every_worker_is_given_up(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys\n"
        "if 'tuner_tui.worker' in sys.orig_argv:\n"
        "    from tuner_tui.worker.generate import answer\n"
        "    plain = answer.prompt_tokens\n"
        "    def dying(model, request):\n"
        "        tokens = plain(model, request)\n"
        "        answer.answer = die if request.turns[0].content == 'poison' else answer_well\n"
        "        return tokens\n"
        "    answer_well = answer.answer\n"
        "    def die(*_, **__):\n"
        "        os._exit(3)\n"
        "    answer.prompt_tokens = dying\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    client = GenerationClient(Base(source=str(tiny_model), precision="fp32", device="cpu"), threads=1)
    with pytest.raises(TunerError, match="exit code 3"):
        client.ask(request("poison", GREEDY, is_alone=True), 120)
    assert client.starts == 2
    assert client.ask(request("Why?", GREEDY, is_alone=True), 60).text
    client.close()


def test_it_asks_before_it_takes_memory_from_a_run(
    make_run: Callable[..., RunFolder], tiny_model: Path
) -> None:
    folder = make_run()
    held = lock.acquire(folder.lock)
    assert held is not None
    client = GenerationClient(Base(source=str(tiny_model)), threads=1)
    with pytest.raises(MachineBusy, match=folder.name):
        client.submit(request("Why?", GREEDY), lambda _: None)
    assert client.pid is None
    held.release()
    assert client_module.runs_at_work() == []


@pytest.mark.slow
def test_an_idle_worker_makes_room_for_a_run(tiny_model: Path, make_run: Callable[..., RunFolder]) -> None:
    folder = make_run()
    base = Base(source=str(tiny_model), precision="fp32", device="cpu")
    client = GenerationClient(base, threads=1)
    said = client.ask(request("Why?", GREEDY), 90).text
    held = lock.acquire(folder.lock)
    assert held is not None
    deadline = time.monotonic() + 30
    while is_there(client):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(MachineBusy):
        client.ask(request("Why?", GREEDY))
    held.release()
    assert client.ask(request("Why?", GREEDY), 90).text == said
    client.close()


def test_candidates_and_generators() -> None:
    base = Base(source="/models/small")
    asked = (Turn("system", "Be long."), Turn("user", "Why?"))
    candidate = Candidate(base=base, adapter="/runs/octopus/adapter", system="Be short.")
    assert candidate.turns(asked) == (Turn("system", "Be short."), Turn("user", "Why?"))
    assert Candidate(base=base).turns(asked) == asked
    assert candidate.name == "small + octopus + system prompt"
    pool = Generators()
    assert pool.of(base) is pool.of(Base(source="/models/small"))
    pool.close()
