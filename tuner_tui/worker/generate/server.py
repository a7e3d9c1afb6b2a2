"""Reads requests, chooses the next batch, and replies.

Exits after a long idle time, when the connection closes, and when it is idle and a run needs the memory.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import traceback
from functools import partial
from typing import TYPE_CHECKING

from tuner_tui.errors import TunerError
from tuner_tui.generation.client import is_memory_wanted
from tuner_tui.generation.messages import (
    Answered,
    Began,
    Cancel,
    Failed,
    Generate,
    Grew,
    Leave,
    Load,
    Loaded,
    Reply,
    Told,
    decode_request,
    encode,
)
from tuner_tui.worker.device.machine import set_threads

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tuner_tui.worker.generate.answer import Row
    from tuner_tui.worker.generate.model import LoadedModel

LARGEST_BATCH = 16
MOST_BATCH_TOKENS = 16_384
"""Prompt and answer tokens of all rows of a batch, which bounds its memory."""
LOOK_SECONDS = 2.0
"""Interval at which an idle worker checks whether a run needs the memory."""
GATHER_SECONDS = 0.02
"""How long the first request waits for others to batch with."""
_log = logging.getLogger(__name__)


class Desk:
    """Pending requests in order; filled by the reading thread."""

    def __init__(self) -> None:
        self.waiting: list[Generate] = []
        self.cancelled: set[str] = set()
        self.is_leaving = False
        self.changed = threading.Condition()

    def put(self, request: Generate) -> None:
        with self.changed:
            self.waiting.append(request)
            self.changed.notify()

    def cancel(self, identity: str) -> Generate | None:
        """Remove and return a pending request; one that is being answered is marked as cancelled."""
        with self.changed:
            for request in self.waiting:
                if request.id == identity:
                    self.waiting.remove(request)
                    return request
            self.cancelled.add(identity)
        return None

    def is_cancelled(self, identity: str) -> bool:
        """Whether a request that is being answered was cancelled."""
        return identity in self.cancelled

    def leave(self) -> None:
        with self.changed:
            self.is_leaving = True
            self.changed.notify()

    def take(
        self, idle_seconds: float, is_memory_wanted: Callable[[], bool] = lambda: False
    ) -> list[Generate] | None:
        """The next batch (empty if it was cancelled in the meantime); None when the worker should exit."""
        until = time.monotonic() + idle_seconds
        with self.changed:
            while not self.waiting and not self.is_leaving:
                left = until - time.monotonic()
                if left <= 0:
                    return None
                if not self.changed.wait(min(left, LOOK_SECONDS)) and is_memory_wanted():
                    return None
            if self.is_leaving:
                return None
        time.sleep(GATHER_SECONDS)
        with self.changed:
            return self._batch()

    def _batch(self) -> list[Generate]:
        if not self.waiting:
            return []
        first = next((request for request in self.waiting if request.is_urgent), self.waiting[0])
        batch = [first]
        if not first.is_alone:
            batch += [request for request in self.waiting if request is not first and _fits(request, first)]
            batch = batch[:LARGEST_BATCH]
        for request in batch:
            self.waiting.remove(request)
        return batch


def _never() -> bool:
    return False


def _fits(request: Generate, first: Generate) -> bool:
    same = (request.adapter, request.sampling) == (first.adapter, first.sampling)
    return same and not request.is_alone


def main(descriptor: int, idle_seconds: float) -> int:
    """Serve the connection with this inherited descriptor."""
    os.nice(5)  # keeps the app responsive
    set_threads()
    connection = socket.socket(fileno=descriptor)
    return Server(connection, idle_seconds).run()


class Server:
    """One connection, one base."""

    def __init__(self, connection: socket.socket, idle_seconds: float) -> None:
        self._connection = connection
        self._sending = threading.Lock()
        self._idle_seconds = idle_seconds
        self._desk = Desk()
        self._model: LoadedModel | None = None
        self._lines = connection.makefile("rb")

    def run(self) -> int:
        """Load, answer until done, and return the exit code."""
        first = self._lines.readline()
        if not first:
            return 0
        request = decode_request(first)
        if not isinstance(request, Load):
            raise TypeError("the first request must load a base")
        threading.Thread(target=self._read, name="requests", daemon=True).start()
        if not self._load(request):
            return 0
        while True:
            batch = self._desk.take(self._idle_seconds, _never if request.may_share else is_memory_wanted)
            if batch is None:
                return 0
            self._answer(batch)

    def _read(self) -> None:
        """Run in a thread: queue requests; exit at once when the connection closes, even in the middle of an answer."""
        for line in self._lines:
            try:
                request = decode_request(line)
            except ValueError as error:
                _log.error("an invalid request: %s", error)
                continue
            match request:
                case Generate():
                    self._desk.put(request)
                case Cancel():
                    withdrawn = self._desk.cancel(request.id)
                    if withdrawn is not None:
                        self._send(self._unsaid(withdrawn))
                case Leave():
                    self._desk.leave()
        os._exit(0)

    def _load(self, request: Load) -> bool:
        started = time.perf_counter()
        try:
            self._send(Told(id=request.id, words=f"loading {request.base.source}"))
            from tuner_tui.worker.generate.model import LoadedModel

            self._model = LoadedModel(request.base)
        except Exception as error:  # whatever a library raises is reported, and ends this worker
            traceback.print_exc()
            self._send(_failed(request.id, error, "The model cannot be loaded"))
            return False
        self._send(
            Loaded(
                id=request.id,
                model=self._model.name,
                device=self._model.machine.device,
                precision=self._model.machine.precision,
                template=self._model.template_mark(None),
                seconds=time.perf_counter() - started,
            )
        )
        return True

    def _answer(self, batch: list[Generate]) -> None:
        from tuner_tui.worker.generate.answer import Row, prompt_tokens

        if self._model is None:
            raise RuntimeError("no model is loaded")
        requests: list[Generate] = []
        rows: list[Row] = []
        total = 0
        for place, request in enumerate(batch):
            try:
                prompt = prompt_tokens(self._model, request)
            except Exception as error:
                traceback.print_exc()
                self._send(_failed(request.id, error, "The prompt cannot be read"))
                continue
            cost = len(prompt) + request.sampling.max_new_tokens
            if rows and total + cost > MOST_BATCH_TOKENS:
                self._give_back(batch[place:])
                break
            total += cost
            requests.append(request)
            rows.append(Row(prompt, request.seed, partial(self._desk.is_cancelled, request.id)))
        if rows:
            self._compute(requests, rows)

    def _give_back(self, requests: Sequence[Generate]) -> None:
        with self._desk.changed:
            self._desk.waiting[:0] = requests

    def _compute(self, requests: list[Generate], rows: list[Row]) -> None:
        from tuner_tui.worker.generate.answer import answer
        from tuner_tui.worker.model.loading import is_out_of_memory

        if self._model is None:
            raise RuntimeError("no model is loaded")
        model = self._model
        for request in requests:
            self._send(Began(id=request.id, batch_size=len(requests)))

        answered: set[str] = set()

        def send_answer(request: Generate, row: Row) -> None:
            answered.add(request.id)
            self._desk.cancelled.discard(request.id)
            self._send(
                Answered(
                    id=request.id,
                    text=str(model.tokenizer.decode(row.tokens, skip_special_tokens=True)),
                    is_finished=row.is_finished,
                    tokens=len(row.tokens),
                    seconds=time.perf_counter() - started,
                    batch_size=len(requests),
                    seed=request.seed,
                    template=model.template_mark(request.adapter),
                    is_cancelled=row.was_cancelled,
                )
            )

        def tell(rows: Sequence[Row]) -> None:
            """Complete answers are sent at once: they stay when the batch is cancelled or fails."""
            for request, row in zip(requests, rows, strict=True):
                if not row.is_open and request.id not in answered:
                    send_answer(request, row)
                elif row.is_open and row.tokens:
                    text = model.tokenizer.decode(row.tokens, skip_special_tokens=True)
                    self._send(Grew(id=request.id, text=str(text).rstrip("\ufffd"), tokens=len(row.tokens)))

        started = time.perf_counter()
        problem: Exception | None = None
        try:
            with model.speaking_as(requests[0].adapter):
                answer(model, rows, requests[0].sampling, tell, is_alone=requests[0].is_alone)
        except Exception as error:  # one bad request must not end the worker
            traceback.print_exc()
            problem = error
        left = [
            (request, row) for request, row in zip(requests, rows, strict=True) if request.id not in answered
        ]
        if problem is None:
            for request, row in left:
                send_answer(request, row)
        elif is_out_of_memory(problem) and len(requests) > 1:
            self._compute_halves([request for request, _ in left], [row for _, row in left])
        else:
            for request, _ in left:
                self._send(_failed(request.id, problem, "The model failed while answering"))

    def _compute_halves(self, requests: list[Generate], rows: list[Row]) -> None:
        """After an out-of-memory error: compute the same in two smaller batches."""
        for row in rows:
            row.tokens.clear()
            row.is_finished = row.was_cancelled = False
        half = (len(requests) + 1) // 2
        for part in (slice(half), slice(half, None)):
            if requests[part]:
                self._compute(requests[part], rows[part])

    def _unsaid(self, request: Generate) -> Answered:
        return Answered(
            id=request.id,
            text="",
            is_finished=False,
            tokens=0,
            seconds=0.0,
            batch_size=0,
            seed=request.seed,
            template=self._model.template_mark(request.adapter) if self._model else "",
            is_cancelled=True,
        )

    def _send(self, reply: Reply) -> None:
        try:
            with self._sending:
                self._connection.sendall(encode(reply))
        except OSError:  # the connection is closed
            os._exit(0)


def _failed(identity: str, error: Exception, title: str) -> Failed:
    if isinstance(error, TunerError):
        return Failed(id=identity, title=error.title, message=error.message, hint=error.hint)
    from tuner_tui.worker.model.loading import is_out_of_memory

    if is_out_of_memory(error):
        return Failed(
            id=identity,
            title="Out of memory",
            message=str(error).splitlines()[0] if str(error) else "",
            hint="Ask for shorter answers, use a lower precision, or close other programs that use memory.",
        )
    return Failed(
        id=identity, title=title, message=f"{type(error).__name__}: {error}", hint="See the log for details."
    )
