"""Downloads: the Hub's cache on this machine: its contents, downloading and removing."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from textual import on, work
from textual.binding import Binding
from textual.containers import Horizontal, VerticalScroll
from textual.message import Message
from textual.reactive import var
from textual.widgets import Input, Label, OptionList, Static

from tuner_tui.errors import TunerError
from tuner_tui.text import counted, shell_command, size
from tuner_tui.ui.feeders import start_feeder
from tuner_tui.ui.hub_words import ProgressReporter, WorkProgress
from tuner_tui.ui.screens.base import ActionDone, TunerScreen
from tuner_tui.ui.widgets.bars import TitleBar
from tuner_tui.ui.widgets.literal import literal_lines, show
from tuner_tui.ui.widgets.pick_list import PickList, PickRow
from tuner_tui.ui.widgets.transfer_line import TransferLine

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.app import ComposeResult

    from tuner_tui.models.hub_cache import CachedRepo, RepoKind

KIND_WORDS: dict[RepoKind, str] = {"model": "model", "dataset": "data set"}
FIRST_WORDS = (
    "n downloads a model or data set by its name on the Hub; Enter resumes an unfinished one.\n"
    "Each file is verified by its hash. Partial downloads are kept when you cancel or leave."
)


class CacheRead(Message):
    """The cache's contents, and the free space."""

    def __init__(self, repos: tuple[CachedRepo, ...], place: str) -> None:
        super().__init__()
        self.repos, self.place = repos, place


class DownloadEnded(Message):
    """A download has finished, was cancelled, or failed."""

    def __init__(self, words: str = "", error: TunerError | None = None) -> None:
        super().__init__()
        self.words, self.error = words, error


class CacheList(PickList):
    """What is in the cache."""

    BINDINGS = [Binding("enter", "select", "Update", tooltip="Resume it, or fetch it anew")]  # noqa: RUF012


class DownloadsScreen(TunerScreen):
    """The cache's repositories by their last use; one download at a time."""

    TITLE_WORDS = "Downloads"
    HELP_TEXT = (
        "This is the Hub client's own cache, which other programs use too. What a waiting or live run needs is not "
        "removed. HF_ENDPOINT sets another Hub address, HF_HOME another folder for the cache. "
        "The token is the Hub client's own: hf auth login."
    )
    DEFAULT_CSS = """
    DownloadsScreen .field { height: 1; margin: 0 2; }
    DownloadsScreen .field Label { width: 12; color: $faint; }
    DownloadsScreen .field Input { width: 1fr; }
    DownloadsScreen #download-progress { height: 6; padding: 1 0 0 2; }
    DownloadsScreen.-short #download-progress { height: 3; padding: 0 0 0 2; }
    DownloadsScreen.-empty PickList { height: 1; }
    DownloadsScreen.-empty #download-progress { height: 1fr; }
    """
    BINDINGS = [  # noqa: RUF012
        Binding("escape", "leave", "Back", key_display="esc"),
        Binding(
            "n",
            "name",
            "Fetch",
            priority=True,  # keys typed right after it belong to the input
            tooltip="Download a model or data set by its name",
        ),
        Binding("t", "kind", "Model/data", tooltip="Switch between model and data set"),
        Binding("delete,D", "remove", "Remove", key_display="del", tooltip="Remove from the cache"),
        Binding("x", "cancel", "Cancel", tooltip="Cancel; the partial download is kept"),
    ]

    repos: var[tuple[CachedRepo, ...]] = var(())
    kind: var[RepoKind] = var("model")
    is_busy: var[bool] = var(False)
    lines: var[str] = var(FIRST_WORDS)

    def __init__(self) -> None:
        super().__init__()
        self._cancel = threading.Event()

    @property
    def headless_command(self) -> str:
        if not self.is_mounted:
            return "tuner-tui models list"
        name = self._name_box.value.strip()
        chosen = self._chosen()
        if name:
            return shell_command("models download", name, options=_data_option(self.kind))
        if chosen is None:
            return "tuner-tui models list"
        word = "download" if chosen.is_unfinished else "remove"
        return shell_command(f"models {word}", chosen.repo_id, options=_data_option(chosen.kind))

    def compose_body(self) -> ComposeResult:
        yield CacheList(id="cache-list", help_text="Contents of the Hub's cache, last used first.")
        with Horizontal(classes="field"):
            yield Label("Model", id="kind-label")
            yield Input(placeholder="owner/name, or owner/name@revision", id="name", compact=True)
        with VerticalScroll(id="download-progress"):
            yield Static(literal_lines(FIRST_WORDS), id="download-lines", markup=False)
        yield TransferLine()

    def on_mount(self) -> None:
        self.query_one(PickList).focus()
        self._read()

    def on_unmount(self) -> None:
        self._cancel.set()

    @property
    def _name_box(self) -> Input:
        return self.query_one("#name", Input)

    def _chosen(self) -> CachedRepo | None:
        key = self.query_one(PickList).picked_key
        return next((repo for repo in self.repos if _key(repo) == key), None)

    def _read(self) -> None:
        def read() -> None:
            self.post_message(read_cache())

        start_feeder(self.app, read)

    def on_cache_read(self, message: CacheRead) -> None:
        self.repos = message.repos
        rows = tuple(
            PickRow(_key(repo), repo.repo_id, (KIND_WORDS[repo.kind], size(repo.size_bytes), *_remarks(repo)))
            for repo in message.repos
        )
        self.query_one(PickList).show(rows)
        self.set_class(not rows, "-empty")
        self.query_one(TitleBar).state = message.place
        if not message.repos and self.lines == FIRST_WORDS:
            self.lines = f"The Hub's cache is empty.\n{FIRST_WORDS}"
        self.refresh_command()
        self.refresh_bindings()

    @on(OptionList.OptionHighlighted)
    @on(Input.Changed)
    def follow(self) -> None:
        self.refresh_command()

    def watch_lines(self, lines: str) -> None:
        if self.is_mounted:
            show(self.query_one("#download-lines", Static), literal_lines(lines))

    def watch_is_busy(self) -> None:
        self.refresh_bindings()

    def watch_kind(self, kind: RepoKind) -> None:
        if self.is_mounted:
            self.query_one("#kind-label", Label).update(KIND_WORDS[kind].capitalize())
            self.refresh_command()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Show only the keys that are available."""
        match action:
            case "cancel":
                return self.is_busy
            case "remove":
                return not self.is_busy and bool(self.repos)
            case "name":
                return not self.is_busy and not isinstance(self.focused, Input)
            case "kind":
                return not self.is_busy
        return True

    def action_name(self) -> None:
        self.set_focus(self._name_box)

    def action_kind(self) -> None:
        self.kind = "dataset" if self.kind == "model" else "model"

    @on(Input.Submitted)
    def fetch_named(self, event: Input.Submitted) -> None:
        name, _, revision = event.value.strip().partition("@")
        self._fetch(name, self.kind, revision or None)

    @on(OptionList.OptionSelected)
    def fetch_chosen(self) -> None:
        """Resume an unfinished download; of a complete one, fetch the newest commit."""
        chosen = self._chosen()
        if chosen is not None:
            self._fetch(chosen.repo_id, chosen.kind, None)

    def _fetch(self, name: str, kind: RepoKind, revision: str | None) -> None:
        if self.is_busy:
            return
        self._cancel = threading.Event()
        self.is_busy, self.lines = True, f"> {name}: starting ..."
        self.set_focus(self.query_one(PickList))
        cancel = self._cancel

        def work_on_it() -> None:
            self.post_message(fetch(name, kind, revision, self.post_message, cancel))

        start_feeder(self.app, work_on_it)

    def on_work_progress(self, message: WorkProgress) -> None:
        if self.is_busy:
            self.lines = "\n".join(message.steps)
            self.query_one(TransferLine).transfer = message.transfer
            self.query_one("#download-progress", VerticalScroll).scroll_end(animate=False)

    def on_download_ended(self, message: DownloadEnded) -> None:
        self.is_busy = False
        self.query_one(TransferLine).transfer = None
        if message.error is not None:
            self.lines = "\n".join((message.error.title, message.error.message, message.error.hint))
            self.show_error(message.error)
        else:
            self.lines = message.words
            self._name_box.value = ""
        self._read()

    @work
    async def action_remove(self) -> None:
        chosen = self._chosen()
        if chosen is None:
            return
        from tuner_tui.ui.modals.confirm import ConfirmModal

        detail = f"Frees {size(chosen.size_bytes)}. It can be downloaded again."
        if await self.app.push_screen_wait(ConfirmModal(f"Remove {chosen.repo_id}?", detail, "Remove")):
            self.perform(lambda: _remove(chosen))

    def on_action_done(self, message: ActionDone) -> None:
        message.prevent_default()  # shown on the screen itself
        self.lines = message.words
        self._read()

    def action_cancel(self) -> None:
        self._cancel.set()

    def action_leave(self) -> None:
        if isinstance(self.focused, Input):
            self.query_one(PickList).focus()
            return
        self.app.pop_screen()


def read_cache() -> CacheRead:
    """Read the cache; blocks while its files are counted."""
    from huggingface_hub import constants

    from tuner_tui.hardware.system import disk_free_bytes
    from tuner_tui.models.hub_cache import cache_root, cached_repos

    repos = tuple(cached_repos())
    used, free = sum(repo.size_bytes for repo in repos), disk_free_bytes(cache_root())
    is_mirror = constants.ENDPOINT.rstrip("/") != constants._HF_DEFAULT_ENDPOINT
    source = f"from {constants.ENDPOINT}, " if is_mirror else ""
    return CacheRead(repos, f"{source}{size(used)} used, {size(free)} free")


def fetch(
    name: str,
    kind: RepoKind,
    revision: str | None,
    post: Callable[[Message], object],
    cancel: threading.Event,
) -> DownloadEnded:
    """Download in a Hub process, reporting progress; blocks until it ends."""
    from tuner_tui.sharing import hub
    from tuner_tui.sharing.hub_protocol import DownloadRequest
    from tuner_tui.sharing.worker_job import Cancelled

    try:
        request = DownloadRequest(repo_id=hub.require_name(name), kind=kind, revision=revision)
        done = hub.download(request, ProgressReporter(post), cancel.is_set)
    except Cancelled:
        return DownloadEnded(f"Cancelled; the partial download of {name} is kept, and Enter resumes it.")
    except TunerError as error:
        return DownloadEnded(error=error)
    except OSError as error:
        return DownloadEnded(
            error=TunerError("The operating system reports an error", f"{error.strerror or error}.")
        )
    return DownloadEnded(
        f"Downloaded {name}: {counted(done.files, 'file')}, {size(done.size_bytes)}, each verified by its hash."
    )


def _remove(repo: CachedRepo) -> str:
    from tuner_tui.sharing.cache import remove_unused

    return f"Freed {size(remove_unused(repo.repo_id, repo.kind))}."


def _key(repo: CachedRepo) -> str:
    return f"{repo.kind}:{repo.repo_id}"


def _data_option(kind: RepoKind) -> list[str]:
    return ["--data"] if kind == "dataset" else []


def _remarks(repo: CachedRepo) -> tuple[str, ...]:
    used = time.strftime("%Y-%m-%d", time.localtime(repo.last_used))
    return (f"used {used}", "unfinished" if repo.is_unfinished else "")
