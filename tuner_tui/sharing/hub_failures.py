"""What a failure of the Hub means for the person who pushes or downloads: one plain sentence and a next step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.models.hub_errors import LOGIN_HINT, OFFLINE_HINT, has_token, tell_withheld
from tuner_tui.sharing.hub_exceptions import ConnectionTrouble, HubBusy, WrongContent

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

WRITING = ("making the repository", "sending files", "committing")
"""What needs the right to write; a refusal there is never about a gate's terms."""
AGAIN = "Run the same command again: what has arrived is not sent twice."


def status_of(error: BaseException) -> int | None:
    """The HTTP status behind an error of the Hub's client; None for other errors."""
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    return status if isinstance(status, int) else None


def explain(error: BaseException, what: str, repo_id: str, attempts: int = 1) -> TunerError:
    """A failure in words; `what` is what was being done, such as "sending files"."""
    return tell_withheld(_explain(error, what, repo_id, attempts))


def _explain(error: BaseException, what: str, repo_id: str, attempts: int) -> TunerError:
    from huggingface_hub import errors

    from tuner_tui.models.hub_client import OversizedAnswer

    often = f" ({attempts} attempts)" if attempts > 1 else ""
    match error:
        case HubBusy():
            return _busy(error.status, error.retry_after, what, often)
        case ConnectionTrouble(is_timeout=True):
            return TunerError("The Hub does not answer", f"No answer in time while {what}{often}.", AGAIN)
        case ConnectionTrouble():
            return TunerError("The connection to the Hub broke", f"It broke while {what}{often}.", AGAIN)
        case OversizedAnswer() | WrongContent():
            return TunerError(
                "The Hub sends other than it announced", f"While {what}: {error}{often}.", AGAIN
            )
        case errors.OfflineModeIsEnabled():
            return TunerError(
                "Offline mode is on",
                "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids asking the Hub.",
                OFFLINE_HINT,
            )
        case errors.GatedRepoError() if what not in WRITING:
            page = f"https://huggingface.co/{repo_id}"
            return InputError(
                "This repository is gated",
                f"{repo_id} is open only to accounts that accepted its terms; "
                + ("the account of your token has not." if has_token() else "no token is present."),
                f"Accept the terms at {page}"
                + (
                    " (a fine-grained token needs the right to read gated repositories, too)."
                    if has_token()
                    else f", then: {LOGIN_HINT}"
                ),
            )
        case errors.RevisionNotFoundError():
            return NotFoundError("No such revision", f"{repo_id} has no such branch, tag or commit.")
        case errors.RepositoryNotFoundError() if status_of(error) != 401 or has_token():
            return NotFoundError(
                "No such repository on the Hub",
                f"{repo_id} does not exist, or your token may not see it.",
                f"Check its name. If it is private: {LOGIN_HINT}",
            )
        case errors.HfHubHTTPError():
            return _refused(error, what, repo_id)
        case UnicodeEncodeError():
            return InputError(
                "Your token cannot be sent", "It holds characters that no token has.", LOGIN_HINT
            )
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return TunerError(
                "A file cannot be read or written", f"{where}{error.strerror or type(error).__name__}."
            )
    return TunerError(
        "The Hub's answer is invalid",
        f"What came back while {what} could not be read ({type(error).__name__}){often}.",
        f"A proxy may stand between. {AGAIN}",
    )


def _busy(status: int, retry_after: float | None, what: str, often: str) -> TunerError:
    if status == 429:
        pause = f"; it asks for {retry_after:.0f} s of pause" if retry_after else ""
        return TunerError(
            "The Hub's rate limit is reached",
            f"It received too many requests while {what} (429{pause}){often}.",
            f"Wait{f' {retry_after:.0f} s' if retry_after else ' some minutes'}. {AGAIN}",
        )
    return TunerError("The Hub has a server error", f"It answered {status} while {what}{often}.", AGAIN)


def _refused(error: HfHubHTTPError, what: str, repo_id: str) -> TunerError:
    match status_of(error):
        case 401 if what not in WRITING and not has_token():
            return InputError(
                "Not logged in",
                f"{repo_id} does not exist, or it is private or gated; no token is present.",
                f"Check its name. If it is yours to read: {LOGIN_HINT}",
            )
        case 401:
            message = "It is wrong, has expired, or none was sent." if has_token() else "There is none."
            return InputError("The Hub refuses your token", f"{message} This was while {what}.", LOGIN_HINT)
        case 403:
            right = (
                "to write to this repository"
                if what in WRITING
                else 'to read this repository ("read access to contents of all public gated repos" for gated ones)'
            )
            return InputError(
                "Your token lacks a right",
                f"The Hub denies {what} at {repo_id} (403).",
                f"It needs the right {right}: https://huggingface.co/settings/tokens",
            )
        case 404:
            return NotFoundError(
                "Not found on the Hub", f"The Hub found nothing while {what} at {repo_id} (404).", AGAIN
            )
        case 409 | 412:
            return TunerError(
                "The repository changed meanwhile", f"Somebody else changed {repo_id} while {what}.", AGAIN
            )
        case 400:
            said = str(getattr(error, "server_message", "") or "").splitlines()
            return InputError("The Hub refused", f"While {what}: {said[0] if said else 'bad request'}.")
        case status:
            return TunerError("The Hub refused", f"It answered {status} while {what}.", AGAIN)
