"""The client of a generation worker: starts it when needed, restarts it when it crashes, and loses no request."""

from __future__ import annotations

import contextlib
import secrets
import signal
import socket
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from tuner_tui.config import paths
from tuner_tui.errors import RunProblem, TunerError
from tuner_tui.files import last_lines, make_folder
from tuner_tui.generation.messages import (
    Answered,
    Base,
    Began,
    Cancel,
    Failed,
    Generate,
    Load,
    Loaded,
    Reply,
    Request,
    Told,
    decode_reply,
    encode,
)
from tuner_tui.hardware.environment import worker_environment
from tuner_tui.hardware.system import usable_cpu_count
from tuner_tui.owned import LOG_TITLE, open_own_log
from tuner_tui.planning.threads import choose_threads
from tuner_tui.python import python_command
from tuner_tui.runs import lock, queue
from tuner_tui.runs.folder import list_runs

if TYPE_CHECKING:
    from pathlib import Path

IDLE_SECONDS = 600.0
LEAVING_SECONDS = 0.5
"""How long an unneeded worker may take to exit; while importing libraries it cannot react."""
MOST_ATTEMPTS = 2
"""A request that was being answered when the worker died is tried this often."""
Listener = Callable[[Reply], None]
"""Called in the client's own thread with each reply to a request."""


class MachineBusy(RunProblem):
    """A run is using this machine's memory; generation needs the user's consent."""


def runs_at_work() -> list[str]:
    """The runs that use memory now."""
    return [folder.name for folder in list_runs() if lock.is_in_use(folder.lock)]


def is_memory_wanted() -> bool:
    """Whether a run is training, or a queued one may be waiting for memory."""
    return bool(runs_at_work()) or (bool(queue.queued_names()) and not queue.is_on_hold())


def generation_log() -> Path:
    """The log of generation workers."""
    return paths.data_dir() / "generation.log"


@dataclass
class _Pending:
    request: Generate
    listener: Listener
    attempts: int = 0
    has_begun: bool = False


class GenerationClient:
    """One base's worker. All methods may be called from any thread."""

    def __init__(
        self,
        base: Base,
        *,
        idle_seconds: float = IDLE_SECONDS,
        threads: int | None = None,
        may_share: bool = False,
        on_state: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`on_state` gets the worker's state in words; it is called in the client's thread."""
        self.base = base
        self.may_share = may_share
        """Whether the user agreed to share memory with a run."""
        self.loaded: Loaded | None = None
        """The worker's loaded model; None without one."""
        self.starts = 0
        self._idle_seconds = idle_seconds
        self._threads = threads or choose_threads(usable_cpu_count())[0]
        self._on_state = on_state
        self._pending: dict[str, _Pending] = {}
        self._turn = threading.RLock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._deaths_while_loading = 0
        self._is_closed = False

    @property
    def pid(self) -> int | None:
        """The worker's process."""
        return self._process.pid if self._process is not None else None

    def submit(self, request: Generate, listener: Listener) -> str:
        """Send a request; the listener gets the replies, the last being Answered or Failed. Returns its id.

        Raises MachineBusy when a run is training without consent to share, TunerError when no worker can be started.
        """
        with self._turn:
            if self._is_closed:
                raise TunerError("The model was closed", self.base.source)
            if self._process is None:
                self._start()
            self._pending[request.id] = _Pending(request, listener)
            self._send(request)
        return request.id

    def ask(self, request: Generate, patience_seconds: float | None = None) -> Answered:
        """Send a request and wait. Raises TunerError when it fails."""
        done = threading.Event()
        last: list[Answered | Failed] = []

        def listen(reply: Reply) -> None:
            if isinstance(reply, (Answered, Failed)):
                last.append(reply)
                done.set()

        self.submit(request, listen)
        if not done.wait(patience_seconds):
            self.cancel(request.id)
            raise TunerError("The model does not answer", f"No answer within {patience_seconds:g} s.")
        if isinstance(last[0], Failed):
            raise TunerError(last[0].title, last[0].message, last[0].hint)
        return last[0]

    def cancel(self, identity: str) -> None:
        """Stop answering a request; its listener gets the partial answer."""
        with self._turn:
            if identity in self._pending:
                self._send(Cancel(id=identity))

    def close(self) -> None:
        """Free the worker's memory; waiting requests fail."""
        with self._turn:
            self._is_closed = True
            process, connection = self._process, self._connection
            if connection is not None:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # the worker exits without a listener
        if process is not None:
            try:
                process.wait(LEAVING_SECONDS)
            except subprocess.TimeoutExpired:  # it has no unsaved state
                process.send_signal(signal.SIGKILL)
                process.wait()

    def _start(self) -> None:
        busy = [] if self.may_share else runs_at_work()
        if busy:
            raise MachineBusy(
                "A run is using this machine",
                f"{busy[0]} is training; loading {self.base.source} takes memory and time from it.",
                "Wait for it to end, or agree to share the machine.",
            )
        ours, theirs = socket.socketpair()
        log = generation_log()
        try:
            make_folder(log.parent)
            with open_own_log(log) as file:
                self._process = subprocess.Popen(
                    python_command(
                        "tuner_tui.worker", "generate", str(theirs.fileno()), str(self._idle_seconds)
                    ),
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    env=worker_environment(self._threads),
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
        except OSError as error:
            ours.close()
            raise TunerError("The model's process cannot be started", f"{log}: {error.strerror}.") from error
        finally:
            theirs.close()
        self.starts += 1
        self._connection = ours
        self._send(Load(id="load", base=self.base, may_share=self.may_share))
        threading.Thread(
            target=self._read, args=(ours, self._process), name="generation", daemon=True
        ).start()
        self._on_state(f"starting {self.base.source}")

    def _send(self, request: Request) -> None:
        if self._connection is not None:
            with contextlib.suppress(OSError):  # it crashed: the reading thread handles that
                self._connection.sendall(encode(request))

    def _read(self, connection: socket.socket, process: subprocess.Popen[bytes]) -> None:
        """In a thread: pass replies to their listeners until the worker exits."""
        with contextlib.suppress(OSError), connection.makefile("rb") as lines:
            for line in lines:
                try:
                    self._take(decode_reply(line))
                except ValueError:
                    continue
        connection.close()
        self._worker_left(process.wait())

    def _take(self, reply: Reply) -> None:
        if reply.id == "load":
            self._take_loading(reply)
            return
        with self._turn:
            pending = self._pending.get(reply.id)
            if pending is None:
                return
            if isinstance(reply, Began):
                pending.has_begun = True
            if isinstance(reply, (Answered, Failed)):
                del self._pending[reply.id]
        pending.listener(reply)

    def _take_loading(self, reply: Reply) -> None:
        match reply:
            case Loaded():
                self.loaded = reply
                self._deaths_while_loading = 0
                self._on_state(f"{reply.model} is ready")
            case Told():
                self._on_state(reply.words)
            case Failed():
                self._fail_all(reply)

    def _worker_left(self, code: int) -> None:
        """Handle an exited, closed or crashed worker: resend waiting requests, except those that crashed two."""
        with self._turn:
            was_loaded = self.loaded is not None
            self._process = self._connection = self.loaded = None
            if not self._pending:
                self._on_state("idle, model unloaded")
                return
            if self._is_closed:
                problem = Failed(id="", title="The model was closed")
            else:
                problem = self._death(code)
                self._deaths_while_loading += not was_loaded
        if self._is_closed or self._deaths_while_loading >= MOST_ATTEMPTS:
            self._deaths_while_loading = 0
            self._fail_all(problem)
            return
        hopeless: list[_Pending] = []
        with self._turn:
            for pending in self._pending.values():
                if pending.has_begun and code != 0:
                    pending.attempts += 1
                pending.has_begun = False
            hopeless = [request for request in self._pending.values() if request.attempts >= MOST_ATTEMPTS]
            for pending in hopeless:
                del self._pending[pending.request.id]
        for pending in hopeless:
            pending.listener(msgspec.structs.replace(problem, id=pending.request.id))
        self._begin_again(code)

    def _begin_again(self, code: int) -> None:
        with self._turn:
            waiting = list(self._pending.values())
            if not waiting:
                return
            try:
                self._start()
            except TunerError as error:
                failed = Failed(id="", title=error.title, message=error.message, hint=error.hint)
                threading.Thread(target=self._fail_all, args=(failed,), daemon=True).start()
                return
            for pending in waiting:
                self._send(pending.request)
        for pending in waiting:
            words = f"the model's process crashed ({_ending(code)}) and was restarted"
            pending.listener(Told(id=pending.request.id, words=words))

    def _death(self, code: int) -> Failed:
        last = "".join(last_lines(generation_log(), 1)).replace(LOG_TITLE.decode().strip(), "")
        return Failed(
            id="",
            title="The model's process crashed",
            message=f"{_ending(code)}. {last}".strip(),
            hint=f"The log is {generation_log()}.",
        )

    def _fail_all(self, problem: Failed) -> None:
        with self._turn:
            pending, self._pending = list(self._pending.values()), {}
        for request in pending:
            request.listener(msgspec.structs.replace(problem, id=request.request.id))


def _ending(code: int) -> str:
    if code == -signal.SIGKILL:
        return "killed, possibly by the system because memory ran out"
    return f"signal {-code}" if code < 0 else f"exit code {code}"


class Generators:
    """The workers of one app: one per base."""

    def __init__(self, *, may_share: bool = False, on_state: Callable[[str], None] = lambda _: None) -> None:
        self._clients: dict[Base, GenerationClient] = {}
        self._may_share = may_share
        self._on_state = on_state

    def of(self, base: Base) -> GenerationClient:
        """The client of a base; its worker starts with the first request."""
        if base not in self._clients:
            self._clients[base] = GenerationClient(
                base, may_share=self._may_share, on_state=lambda words: self._on_state(words)
            )
        return self._clients[base]

    def agree_to_share(self) -> None:
        """The user agreed to share memory with a run."""
        self._may_share = True
        for client in self._clients.values():
            client.may_share = True

    def listen(self, on_state: Callable[[str], None]) -> None:
        """Report the workers' state to another listener."""
        self._on_state = on_state

    def close(self) -> None:
        """Free all memory."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()


def new_id() -> str:
    """An id for a request."""
    return secrets.token_hex(8)


def new_seed() -> int:
    """A random seed, to be saved with the answer."""
    return secrets.randbits(31)
