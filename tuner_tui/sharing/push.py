"""Prepares a push: a verified export, the card, the files, and the scan for private data."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from tuner_tui import guarded
from tuner_tui.config import paths
from tuner_tui.errors import InputError, TunerError
from tuner_tui.files import expanded, settle_modes, write_atomic
from tuner_tui.guarded import Unreadable
from tuner_tui.models.model_code import git_blob_id
from tuner_tui.models.model_folder import read_json
from tuner_tui.models.source import is_hub_id
from tuner_tui.runs.disk import owned_pushes
from tuner_tui.runs.export_events import BaseAs, Checked, Form, StepEntered
from tuner_tui.sharing.allowed import CARD, PUSHED_FORMS, chosen_files, require_clean_result
from tuner_tui.sharing.card import (
    CardForm,
    CardOptions,
    make_card,
    require_base_name,
    require_unrepeated,
)
from tuner_tui.sharing.card_usage import has_template
from tuner_tui.sharing.checksums import matches_sums, sha256
from tuner_tui.sharing.export import ExportOptions, export
from tuner_tui.sharing.hub_protocol import PushFile
from tuner_tui.sharing.licences import licence_of, require_name, what_it_asks
from tuner_tui.sharing.scan import is_clean, own_secrets, require_clean
from tuner_tui.sharing.training_rows import training_rows
from tuner_tui.sharing.verification import SKIPPED_WORDS

if TYPE_CHECKING:
    from tuner_tui.sharing.run_facts import RunFacts
    from tuner_tui.sharing.scan import Row
    from tuner_tui.sharing.verification import Verification

Tell = Callable[[Any], None]
LARGEST_GIT_FILE = 10_000_000
"""Larger files are always in LFS, so their git id is not needed."""


@dataclass(frozen=True)
class Prepared:
    """The scanned files of a push, in their own folder."""

    repo_id: str
    form: Form
    folder: Path
    card: Path
    files: tuple[PushFile, ...]
    licence: str | None
    remarks: tuple[str, ...]
    message: str
    """The commit's message, without the run's name if that is private."""
    verification: Verification = "compared"

    @property
    def size_bytes(self) -> int:
        return sum(file.size for file in self.files)

    @property
    def licence_asks(self) -> str:
        """The base licence's requirements for derivatives."""
        return what_it_asks(self.licence)


@dataclass(frozen=True)
class PushOptions:
    """Options of a push."""

    repo_id: str
    form: Form = "adapter"
    quant: str | None = None
    base_as: BaseAs = "trained"
    card_file: Path | None = None
    """The user's own card, instead of the generated one."""
    is_verified: bool = True
    """Whether the export is compared with the trained model."""
    card: CardOptions = field(default_factory=CardOptions)


def prepare(
    facts: RunFacts,
    options: PushOptions,
    tell: Tell = lambda event: None,
    is_cancelled: Callable[[], bool] = lambda: False,
    is_skipping: Callable[[], bool] = lambda: False,
) -> Prepared:
    """Prepare a push; nothing is sent. `is_skipping` ends a verification, as in `export`.

    Raises InputError for private data, TunerError, Cancelled.
    """
    require_target(options)
    if not facts.is_full:
        require_clean_result(facts.folder.adapter)
        require_expected_base(facts)
    own = options.card_file or _left_in_result(facts)
    text = _read_card(own) if own else None
    require_base_name(facts)
    require_name(licence_of(facts, options.card.licence), facts.base_name or "", options.repo_id)
    rows, unread = _rows(facts)
    wanted = replace(options.card, samples="none") if own or rows is None else options.card
    require_unrepeated(facts, rows or (), wanted.samples)
    folder, checked = _made(facts, options, tell, is_cancelled, is_skipping)
    made = CardForm(options.form, options.quant, options.base_as, has_template(folder))
    card = make_card(facts, made, options.repo_id, checked, rows or (), wanted)
    write_atomic(folder / CARD, card.text if text is None else text)
    files = chosen_files(folder, options.form)
    owner = options.repo_id.partition("/")[0]
    extra = (str(facts.folder.path), str(folder))
    public_names = (options.repo_id, facts.base_name or "", *options.card.datasets)
    secrets = own_secrets(_token(), rows or (), owner, extra, public_names)
    require_clean(files, secrets)
    if not is_clean(options.repo_id, secrets):
        raise InputError(
            "The upload contains private data",
            f"The repository's name, {options.repo_id}, looks like a secret.",
            "Choose another name.",
        )
    message = f"Add {options.form} of {facts.folder.name}"
    remarks = card.remarks
    if checked is None:
        remarks += (f"{SKIPPED_WORDS} {'Your own card should' if own else 'The card does'} say so.",)
    if rows is None:
        effect = "your card was not compared with the training rows" if own else "the card shows no samples"
        remarks += (f"The training data can no longer be read, so {effect}: {unread}",)
    return Prepared(
        options.repo_id,
        options.form,
        folder,
        folder / CARD,
        tuple(map(_file, files)),
        card.licence,
        remarks,
        message if is_clean(message, secrets) else f"Add {options.form}",
        "compared" if checked else "skipped",
    )


def discard(prepared: Prepared) -> None:
    """Remove the prepared files after the push."""
    owned_pushes().discard(prepared.folder)
    owned_pushes().discard(_stamp(prepared.folder))


def require_target(options: PushOptions) -> None:
    """Raise InputError for an invalid name, and for forms that are not for the Hub."""
    if "/" not in options.repo_id or not is_hub_id(options.repo_id):
        raise InputError(
            "Not a name on the Hub",
            f"{options.repo_id!r} is not a valid repository name.",
            'Use the form "owner/name".',
        )
    if options.form not in PUSHED_FORMS:
        raise InputError(
            "This form cannot be pushed",
            f"{options.form} contains training data or the whole run.",
            f"Forms for the Hub: {', '.join(PUSHED_FORMS)}",
        )


def require_expected_base(facts: RunFacts) -> None:
    """Raise InputError when the adapter names another base than its run."""
    named = str(read_json(facts.folder.adapter / "adapter_config.json").get("base_model_name_or_path") or "")
    wanted = {facts.plan.model_location, facts.plan.model_name, facts.base_name, ""}
    is_dequantised = facts.is_from_gguf and Path(named).parent.name == paths.dequantised_dir().name
    if named not in wanted and not is_dequantised:
        raise InputError(
            "The adapter names another base",
            f"{facts.folder.adapter / 'adapter_config.json'}\n"
            f'"base_model_name_or_path": {named!r}, and the run was trained on {facts.plan.model_location}.',
            "Nothing was sent. Restore the file as training wrote it.",
        )


def _rows(facts: RunFacts) -> tuple[tuple[Row, ...] | None, str]:
    """(training rows, ""), or (None, why they can no longer be read)."""
    try:
        return training_rows(facts.spec), ""
    except TunerError as error:
        return None, error.message or error.title


def _made(
    facts: RunFacts,
    options: PushOptions,
    tell: Tell,
    is_cancelled: Callable[[], bool],
    is_skipping: Callable[[], bool],
) -> tuple[Path, Checked | None]:
    """The export in our cache: new, or from an earlier attempt with the same result."""
    root = owned_pushes().folder
    folder = root / f"{facts.folder.name}-{options.form}-{options.quant or 'default'}-{options.base_as}"
    stamp, mark = _stamp(folder), _mark(facts)
    if folder.is_dir() and stamp.is_file():
        try:
            fingerprint, checked = msgspec.json.decode(
                guarded.read_bytes(stamp), type=tuple[str, Checked | None]
            )
            if fingerprint == mark and (checked is not None or not options.is_verified):
                tell(StepEntered(what="checking what an earlier push prepared"))
                if matches_sums(folder, (CARD,)):
                    return folder, checked
        except (OSError, ValueError, RecursionError, Unreadable):
            pass
    try:
        owned_pushes().claim()
        for left in (folder, stamp):
            with contextlib.suppress(FileNotFoundError):
                owned_pushes().remove(left)
    except OSError as error:
        raise TunerError(
            "The push cannot be prepared", f"{error.filename or root}: {error.strerror}."
        ) from error
    wanted = ExportOptions(options.form, folder, options.quant, options.base_as, options.is_verified)
    made = export(facts, wanted, tell, is_cancelled, is_skipping)
    settle_modes(folder)
    write_atomic(stamp, msgspec.json.encode((mark, made.checked)))
    return folder, made.checked


def _stamp(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.json")


def _mark(facts: RunFacts) -> str:
    """A fingerprint of the export's inputs."""
    files = sorted(path for path in facts.folder.adapter.iterdir() if path.is_file())
    return " ".join(f"{path.name}:{sha256(path)}" for path in files) + f" {facts.base_name}"


def _left_in_result(facts: RunFacts) -> Path | None:
    """A card that the user put beside the adapter."""
    card = facts.folder.adapter / CARD
    return card if card.is_file() else None


def _read_card(path: Path) -> str:
    """The user's card. Raises InputError for an invalid one, which the Hub would reject after the upload."""
    from huggingface_hub import ModelCard

    try:
        text = guarded.read_text(expanded(path))
    except Unreadable as error:
        raise InputError("The card cannot be read", f"{path}: {error.problem}.", error.hint) from None
    try:
        metadata = ModelCard(text).data.to_dict()  # type: ignore[no-untyped-call]
    except Exception as error:  # yaml raises a family of its own
        line = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError("The card's metadata is not YAML", f"{path}: {line}") from None
    base = metadata.get("base_model")
    for name in base if isinstance(base, list) else [base]:
        if name is None or not is_hub_id(str(name)):
            raise InputError(
                "The card's base model is not a Hub name",
                f"{path}: base_model is {name!r}.",
                'Write the base\'s name on the Hub, such as "owner/name".',
            )
    return text


def _file(path: Path) -> PushFile:
    size = path.stat().st_size
    git_id = git_blob_id(guarded.read_bytes(path, LARGEST_GIT_FILE)) if size <= LARGEST_GIT_FILE else None
    return PushFile(path=str(path), name=path.name, size=size, sha256=sha256(path), git_id=git_id)


def _token() -> str | None:
    """The Hub client's token, to scan for it; it is stored nowhere."""
    from huggingface_hub import get_token

    try:
        return get_token()
    except Exception:  # one that cannot be read is not sent either; the error may quote it
        return None
