"""What the Share screen asks to be done, in threads: exporting, preparing a push, pushing; told as plain lines."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from textual.message import Message

from tuner_tui.errors import TunerError
from tuner_tui.runs.export_events import Agreement, Form
from tuner_tui.text import plain, size
from tuner_tui.ui.hub_words import Telling

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from tuner_tui.runs.folder import RunFolder
    from tuner_tui.sharing.card import SampleChoice
    from tuner_tui.sharing.export import Exported
    from tuner_tui.sharing.hub_protocol import Pushed
    from tuner_tui.sharing.push import Prepared

Visibility = Literal["private", "public"]


@dataclass(frozen=True)
class Wish:
    """What the person has chosen."""

    folder: RunFolder
    form: Form
    out: str
    repo_id: str
    visibility: Visibility = "private"
    base: str | None = None
    """The base's name on the Hub, where the person gave one."""
    licence: str | None = None
    quant: str | None = None
    """Number type of GGUF forms; None for the form's usual one."""
    card_file: Path | None = None
    samples: SampleChoice = "all"


class FactsRead(Message):
    """What is known of the run, or why it cannot be shared."""

    def __init__(
        self, base: str | None = None, licence: str | None = None, error: TunerError | None = None
    ) -> None:
        super().__init__()
        self.base, self.licence, self.error = base, licence, error


def read_run(folder: RunFolder, post: Callable[[Message], object]) -> None:
    """Look at a run, and post what is known of it."""
    from tuner_tui.sharing.licences import base_licence
    from tuner_tui.sharing.run_facts import read_facts

    try:
        facts = read_facts(folder)
        post(FactsRead(facts.base_name, base_licence(facts)))
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
    """It is done, cancelled, or could not be done."""

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
    """One piece of work in a thread; `cancel` ends it at its next look."""

    def __init__(self, wish: Wish, post: Callable[[Message], object], cancel: threading.Event) -> None:
        self._wish, self._post, self._cancel = wish, post, cancel
        self._tell = Telling(post)

    def export(self) -> None:
        """Make the form in its folder."""
        self._guarded(self._export)

    def prepare(self) -> None:
        """Make and look through what would go; nothing is sent."""
        self._guarded(self._prepare)

    def push(self, prepared: Prepared) -> None:
        """Send what was prepared."""
        self._guarded(lambda: self._push(prepared))

    def _guarded(self, work: Callable[[], Ended]) -> None:
        from tuner_tui.sharing.worker_job import Cancelled

        try:
            ending = work()
        except Cancelled:
            ending = Ended(("Cancelled; started again, it resumes where it can.",), is_cancelled=True)
        except TunerError as error:
            ending = Ended(error=error)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            ending = Ended(error=TunerError("The system refuses", f"{where}{error.strerror or error}."))
        self._post(ending)

    def _export(self) -> Ended:
        from tuner_tui.sharing.export import ExportOptions, export
        from tuner_tui.sharing.run_facts import read_facts

        facts = read_facts(self._wish.folder, self._wish.base)
        options = ExportOptions(self._wish.form, Path(self._wish.out), self._wish.quant)
        return Ended(tuple(exported_lines(export(facts, options, self._tell, self._cancel.is_set))))

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
            card=CardOptions(licence=wish.licence, samples=wish.samples),
        )
        with only_push_of(wish.folder):
            facts = read_facts(wish.folder, wish.base)
            prepared = prepare(facts, options, self._tell, self._cancel.is_set)
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
        with only_push_of(
            self._wish.folder
        ):  # what another one changed meanwhile is noticed before it is sent
            pushed = hub.push(request, self._tell, self._cancel.is_set)
            discard(prepared)
        return Ended((pushed_line(pushed),))


def exported_lines(exported: Exported) -> list[str]:
    """What an export left, and how it was proven."""
    lines = [f"Done: {exported.folder} ({size(exported.size_bytes)})"]
    if exported.checked:
        lines.append(f"Read back by {exported.checked.reader}, against {exported.checked.against}:")
        lines.append(f"  {agreement_words(exported.checked.agreement)}")
        for variant in exported.checked.variants:
            told = variant.agreement
            words = agreement_words(told) if told else f"not tried: {variant.problem.lower()}"
            lines.append(f"The same adapter {variant.name}:\n  {words}")
    return lines + [f"  {size(path.stat().st_size):>9}  {path.name}" for path in exported.files]


def prepared_lines(prepared: Prepared, visibility: Visibility) -> list[str]:
    """What would go, whom it would be visible to, and what the licence asks."""
    owner = prepared.repo_id.partition("/")[0]
    seen_by = "everybody" if visibility == "public" else f"you, or {owner}'s members"
    return [
        f"To {prepared.repo_id}, seen by {seen_by}. k edits the card, v changes who sees it, p sends.",
        f"Licence of the base: {prepared.licence or 'not known'}. It asks to: {prepared.licence_asks}.",
        *prepared.remarks,
        "",
        f"  {size(prepared.size_bytes):>9}  in all, looked through: nothing private was found",
        *(f"  {size(file.size):>9}  {plain(file.name)}" for file in prepared.files),
    ]


def pushed_line(pushed: Pushed) -> str:
    """Where it is now."""
    if not pushed.is_new_commit:
        return f"It was there already, with the same content: {pushed.url}"
    return f"Pushed ({pushed.visibility}), and read back as sent: {pushed.url}"


def agreement_words(told: Agreement) -> str:
    """A comparison in a few words."""
    return (
        f"{told.equal_answers} of {told.prompts} greedy answers equal, largest difference of a probability "
        f"{told.largest_probability_difference:.2g}"
    )
