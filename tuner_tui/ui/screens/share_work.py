"""The Share screen's work in threads: exporting, preparing a push, pushing; reported as lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from textual.message import Message

from tuner_tui.errors import TunerError
from tuner_tui.runs.export_events import Agreement, Form
from tuner_tui.text import counted, plain, shell_command, size
from tuner_tui.ui.hub_words import ProgressReporter

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.sharing.card import SampleChoice
    from tuner_tui.sharing.export import Exported
    from tuner_tui.sharing.hub_protocol import Pushed
    from tuner_tui.sharing.push import Prepared

Visibility = Literal["private", "public"]


FIRST_WORDS = (
    "e exports the chosen form to the folder, and verifies that it behaves like the trained model.",
    "w prepares and shows the files for the Hub, and scans them for secrets. Nothing is sent before p.",
)
SAMPLE_WORDS: dict[SampleChoice, str] = {
    "all": "all; a sample that repeats a training row stops the push",
    "unseen": "only those that do not repeat a training row",
    "none": "none",
}
SAMPLE_CHOICES = tuple(SAMPLE_WORDS)
VERIFIED_WORDS = {
    True: "The export will be compared with the trained model.",
    False: "The export will not be compared with the trained model; it, its card and its record say so.",
}


@dataclass(frozen=True)
class Wish:
    """The user's choices."""

    folder: RunFolder
    form: Form
    out: str
    repo_id: str
    visibility: Visibility = "private"
    base: str | None = None
    """The base's name on the Hub, if given."""
    licence: str | None = None
    quant: str | None = None
    """Data type of GGUF forms; None for the form's default."""
    card_file: Path | None = None
    samples: SampleChoice = "all"
    is_verified: bool = True
    """Whether the export is compared with the trained model."""

    def command(self, *, is_for_hub: bool) -> str:
        """The command that does the same."""
        words = ["--as", self.form]
        words += (
            ["--to", self.repo_id] if is_for_hub else ["--out", self.out or f"{self.folder.name}-{self.form}"]
        )
        words += ["--quant", self.quant] if self.quant else []
        if is_for_hub:
            words += [f"--{self.visibility}"]
            words += ["--card", str(self.card_file)] if self.card_file else []
        if is_for_hub and self.samples != "all":
            words += ["--samples", self.samples]
        if is_for_hub and self.licence:
            words += ["--licence", self.licence]
        words += ["--base", self.base] if self.base else []
        words += [] if self.is_verified else ["--skip", "verification"]
        return shell_command("push" if is_for_hub else "export", self.folder.name, options=words)


class FactsRead(Message):
    """Facts about the run, or why it cannot be shared."""

    def __init__(
        self, base: str | None = None, licence: str | None = None, error: TunerError | None = None
    ) -> None:
        super().__init__()
        self.base, self.licence, self.error = base, licence, error


def read_run(folder: RunFolder, post: Callable[[Message], object]) -> None:
    """Read a run, and post the facts."""
    from tuner_tui.sharing.licences import base_licence
    from tuner_tui.sharing.run_facts import read_facts

    try:
        facts = read_facts(folder)
        post(FactsRead(facts.base_name, base_licence(facts).identifier))
    except TunerError as error:
        post(FactsRead(error=error))
    except OSError as error:
        post(
            FactsRead(
                error=TunerError(
                    "The run cannot be read", f"{error.filename or folder.path}: {error.strerror}."
                )
            )
        )


class Ended(Message):
    """The work has finished, was cancelled, or failed."""

    def __init__(
        self,
        lines: tuple[str, ...] = (),
        prepared: Prepared | None = None,
        error: TunerError | None = None,
        is_cancelled: bool = False,
    ) -> None:
        super().__init__()
        self.lines, self.prepared, self.error = lines, prepared, error
        self.is_unfinished = is_cancelled or error is not None


class Work:
    """One piece of work in a thread; `cancel` ends it at its next check, `skip` its verification."""

    def __init__(
        self, wish: Wish, post: Callable[[Message], object], cancel: threading.Event, skip: threading.Event
    ) -> None:
        self._wish, self._post, self._cancel, self._skip = wish, post, cancel, skip
        self._tell = ProgressReporter(post)

    def export(self) -> None:
        """Export to the folder."""
        self._guarded(self._export)

    def prepare(self) -> None:
        """Prepare and scan the files; nothing is sent."""
        self._guarded(self._prepare)

    def push(self, prepared: Prepared) -> None:
        """Send what was prepared."""
        self._guarded(lambda: self._push(prepared))

    def _guarded(self, work: Callable[[], Ended]) -> None:
        from tuner_tui.sharing.worker_job import Cancelled

        try:
            ending = work()
        except Cancelled:
            ending = Ended(("Cancelled; starting again resumes where possible.",), is_cancelled=True)
        except TunerError as error:
            ending = Ended(error=error)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            ending = Ended(
                error=TunerError(
                    "The operating system reports an error", f"{where}{error.strerror or error}."
                )
            )
        self._post(ending)

    def _export(self) -> Ended:
        from tuner_tui.sharing.export import ExportOptions, export
        from tuner_tui.sharing.run_facts import read_facts

        facts = read_facts(self._wish.folder, self._wish.base)
        options = ExportOptions(
            self._wish.form, Path(self._wish.out), self._wish.quant, is_verified=self._wish.is_verified
        )
        exported = export(facts, options, self._tell, self._cancel.is_set, self._skip.is_set)
        return Ended(tuple(exported_lines(exported)))

    def _prepare(self) -> Ended:
        from tuner_tui.sharing.card import CardOptions
        from tuner_tui.sharing.push import PushOptions, prepare
        from tuner_tui.sharing.push_lock import only_push_of
        from tuner_tui.sharing.run_facts import read_facts

        wish = self._wish
        options = PushOptions(
            wish.repo_id,
            wish.form,
            wish.quant,
            card_file=wish.card_file,
            is_verified=wish.is_verified,
            card=CardOptions(licence=wish.licence, samples=wish.samples),
        )
        with only_push_of(wish.folder):
            facts = read_facts(wish.folder, wish.base)
            prepared = prepare(facts, options, self._tell, self._cancel.is_set, self._skip.is_set)
        return Ended(tuple(prepared_lines(prepared, wish.visibility)), prepared)

    def _push(self, prepared: Prepared) -> Ended:
        from tuner_tui.sharing import hub
        from tuner_tui.sharing.hub_protocol import PushRequest
        from tuner_tui.sharing.push import discard
        from tuner_tui.sharing.push_lock import only_push_of

        request = PushRequest(
            repo_id=prepared.repo_id,
            files=prepared.files,
            message=prepared.message,
            visibility=self._wish.visibility if self._wish.visibility == "public" else None,
        )
        with only_push_of(self._wish.folder):  # changes by another process are noticed before sending
            pushed = hub.push(request, self._tell, self._cancel.is_set)
            discard(prepared)
        return Ended((pushed_line(pushed),))


def exported_lines(exported: Exported) -> list[str]:
    """An export's files, and how it was verified."""
    from tuner_tui.sharing.verification import SKIPPED_WORDS

    lines = [f"Done: {exported.folder} ({size(exported.size_bytes)})"]
    if exported.verification == "skipped":
        lines.append(SKIPPED_WORDS)
    if exported.checked:
        lines.append(f"Read back by {exported.checked.reader}, against {exported.checked.against}:")
        lines.append(f"  {agreement_words(exported.checked.agreement)}")
        for variant in exported.checked.variants:
            agreement = variant.agreement
            words = agreement_words(agreement) if agreement else f"not tested: {variant.problem.lower()}"
            lines.append(f"The same adapter {variant.name}:\n  {words}")
    return lines + [f"  {size(path.stat().st_size):>9}  {path.name}" for path in exported.files]


def prepared_lines(prepared: Prepared, visibility: Visibility) -> list[str]:
    """The files, their visibility, and the licence's requirements."""
    owner = prepared.repo_id.partition("/")[0]
    seen_by = "everybody" if visibility == "public" else f"you, or {owner}'s members"
    return [
        f"To {prepared.repo_id}, visible to {seen_by}. k edits the card, v changes visibility, p pushes.",
        f"Licence of the base: {prepared.licence or 'unknown'}. It requires: {prepared.licence_asks}.",
        *prepared.remarks,
        "",
        f"  {size(prepared.size_bytes):>9}  in total; the scan found nothing private",
        *(f"  {size(file.size):>9}  {plain(file.name)}" for file in prepared.files),
    ]


def pushed_line(pushed: Pushed) -> str:
    """The address of the pushed files."""
    if not pushed.is_new_commit:
        return f"Already there, with the same content: {pushed.url}"
    return f"Pushed ({pushed.visibility}) and verified: {pushed.url}"


def agreement_words(agreement: Agreement) -> str:
    """A comparison in a few words."""
    return (
        f"{agreement.equal_answers} of {counted(agreement.prompts, 'greedy answer')} equal, largest difference "
        "of a probability "
        f"{agreement.largest_probability_difference:.2g}"
    )


def error_lines(error: TunerError) -> tuple[str, ...]:
    """An error and its next step."""
    return tuple(line for line in (error.title, *error.message.splitlines(), error.hint) if line)
