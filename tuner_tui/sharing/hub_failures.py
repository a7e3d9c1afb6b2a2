"""Failures of the Hub as errors with a message and a next step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.models.hub_errors import LOGIN_HINT, OFFLINE_HINT, has_token, tell_withheld
from tuner_tui.sharing.hub_exceptions import ConnectionTrouble, HubBusy, WrongContent

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

WRITING = ("creating the repository", "uploading files", "committing")
"""Operations that need write access; a refusal there is never about gating."""
AGAIN = "Run the same command again: completed files are not transferred again."


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
                "The Hub's data differs from what it announced", f"While {what}: {error}{often}.", AGAIN
            )
        case errors.OfflineModeIsEnabled():
            return TunerError(
                "Offline mode is on",
                "HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids access to the Hub.",
                OFFLINE_HINT,
            )
        case errors.GatedRepoError() if what not in WRITING:
            page = f"https://huggingface.co/{repo_id}"
            return InputError(
                "This repository is gated",
                f"{repo_id} is available only to accounts that accepted its terms; "
                + ("your token's account has not accepted them." if has_token() else "there is no token."),
                f"Accept the terms at {page}"
                + (
                    " (a fine-grained token also needs permission to read gated repositories)."
                    if has_token()
                    else f", then: {LOGIN_HINT}"
                ),
            )
        case errors.RevisionNotFoundError():
            return NotFoundError("No such revision", f"{repo_id} has no such branch, tag or commit.")
        case errors.RepositoryNotFoundError() if status_of(error) != 401 or has_token():
            return NotFoundError(
                "No such repository on the Hub",
                f"{repo_id} does not exist, or your token has no access to it.",
                f"Check its name. If it is private: {LOGIN_HINT}",
            )
        case errors.HfHubHTTPError():
            return _refused(error, what, repo_id)
        case UnicodeEncodeError():
            return InputError(
                "Your token cannot be sent", "It has characters that a token cannot have.", LOGIN_HINT
            )
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return TunerError(
                "A file cannot be read or written", f"{where}{error.strerror or type(error).__name__}."
            )
    return TunerError(
        "The Hub's answer is invalid",
        f"The answer while {what} could not be read ({type(error).__name__}){often}.",
        f"A proxy may have changed it. {AGAIN}",
    )


def _busy(status: int, retry_after: float | None, what: str, often: str) -> TunerError:
    if status == 429:
        pause = f"; it asks to wait {retry_after:.0f} s" if retry_after else ""
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
                f"{repo_id} does not exist, or it is private or gated; there is no token.",
                f"Check its name. If you have access: {LOGIN_HINT}",
            )
        case 401:
            message = "It is wrong, has expired, or none was sent." if has_token() else "There is none."
            return InputError(
                "The Hub rejects your token", f"{message} It happened while {what}.", LOGIN_HINT
            )
        case 403:
            right = (
                "to write to this repository"
                if what in WRITING
                else 'to read this repository ("read access to contents of all public gated repos" for gated ones)'
            )
            return InputError(
                "Your token lacks a permission",
                f"The Hub denies {what} at {repo_id} (403).",
                f"It needs permission {right}: https://huggingface.co/settings/tokens",
            )
        case 404:
            return NotFoundError(
                "Not found on the Hub", f"The Hub found nothing while {what} at {repo_id} (404).", AGAIN
            )
        case 409 | 412:
            return TunerError(
                "The repository changed meanwhile", f"Another commit changed {repo_id} while {what}.", AGAIN
            )
        case 400:
            server_lines = str(getattr(error, "server_message", "") or "").splitlines()
            return InputError(
                "The Hub rejected the request",
                f"While {what}: {server_lines[0] if server_lines else 'bad request'}.",
            )
        case status:
            return TunerError("The Hub rejected the request", f"It answered {status} while {what}.", AGAIN)
