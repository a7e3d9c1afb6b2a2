"""Explains the Hub's errors in one sentence with a next step; never includes a token."""

from __future__ import annotations

from tuner_tui.errors import InputError, NotFoundError, TunerError
from tuner_tui.hosts import insecure_hub

LOGIN_HINT = "Log in with `hf auth login`, or set HF_TOKEN."
OFFLINE_HINT = (
    "Unset the variable; if the setting privacy.offline is on: tuner-tui config set privacy.offline false"
)
_LATER = "Try again later, or use a model that is already on this machine."


def explain_hub_error(error: Exception, repo_id: str, revision: str | None = None) -> TunerError:
    """The explanation of an error of the Hub's client for a repository."""
    return tell_withheld(_explain(error, repo_id, revision))


def tell_withheld(error: TunerError) -> TunerError:
    """The error, with the reason why a stored token was not sent if that may be why the Hub refuses."""
    if isinstance(error, (InputError, NotFoundError)) and (address := insecure_hub()) and has_stored_token():
        error.hint = (
            f"{error.hint} Your token was not sent: HF_ENDPOINT is {address}, which is plain http; "
            "give an https:// address."
        ).strip()
    return error


def _explain(error: Exception, repo_id: str, revision: str | None) -> TunerError:
    import httpx2
    from huggingface_hub import errors

    from tuner_tui.models.hub_client import OversizedAnswer

    page = f"https://huggingface.co/{repo_id}"
    match error:
        case errors.OfflineModeIsEnabled():
            return TunerError(
                "Offline mode is on",
                f"{repo_id} is not complete in the Hub's cache, and HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE "
                "forbids asking the Hub.",
                f"{OFFLINE_HINT}. Or use a model that is already on this machine.",
            )
        case errors.GatedRepoError():
            if has_token():
                return InputError(
                    "This model is gated",
                    f"Your token's account has no access to {repo_id} yet.",
                    f"Accept the terms at {page} (a fine-grained token must allow gated models too).",
                )
            return InputError(
                "This model is gated",
                f"{repo_id} is open only to accounts that accepted its terms, and no token is present.",
                f"Accept the terms at {page}, then: {LOGIN_HINT}",
            )
        case errors.RepositoryNotFoundError():
            if has_token():
                return NotFoundError(
                    "No such model on the Hub",
                    f"{repo_id} does not exist, or it is private and your token may not see it.",
                    f"Check the name at {page}",
                )
            return NotFoundError(
                "No such model on the Hub",
                f"{repo_id} does not exist, or it is private and you are not logged in.",
                f"Check the name at {page}. If it is private: {LOGIN_HINT}",
            )
        case errors.RevisionNotFoundError():
            return NotFoundError(
                "No such revision",
                f"{repo_id} has no branch, tag or commit {revision or 'main'!r}.",
                f"See {page}/tree/main for what it has.",
            )
        case errors.DisabledRepoError():
            return InputError("This model is disabled", f"Access to {repo_id} is disabled on the Hub.", page)
        case OversizedAnswer():
            return TunerError(
                "The Hub's answer was rejected",
                f"The response about {repo_id}: {error}.",
                "A proxy or login page may be in between; try again later.",
            )
        case errors.HfHubHTTPError():
            return _explain_status(error.response.status_code, repo_id, page)
        case httpx2.TimeoutException() | TimeoutError():
            return TunerError("The Hub does not answer", f"No response about {repo_id} in time.", _LATER)
        case UnicodeEncodeError() | httpx2.LocalProtocolError():
            return InputError("Your token cannot be sent", "It has invalid characters.", LOGIN_HINT)
        case httpx2.HTTPError() | OSError():
            return TunerError(
                "Cannot reach the Hub",
                f"The connection failed in a request about {repo_id} ({type(error).__name__}).",
                "Check the network, or use a model that is already on this machine.",
            )
    return TunerError(
        "The Hub's answer is invalid",
        f"The response about {repo_id} could not be read ({type(error).__name__}).",
        "A proxy or login page may be in between; try again later.",
    )


def has_token() -> bool:
    """Whether the Hub's client sends a token."""
    return not insecure_hub() and has_stored_token()


def has_stored_token() -> bool:
    """Whether there is a token on this machine, sent or not."""
    from huggingface_hub import get_token

    try:
        return get_token() is not None
    except Exception:  # an unreadable or expired token counts as none; the error may contain it
        return False


def _explain_status(status: int, repo_id: str, page: str) -> TunerError:
    match status:
        case 401 if has_token():
            return InputError("The Hub rejects your token", "It is wrong or has expired.", LOGIN_HINT)
        case 401:
            return InputError("The Hub requires a login", f"{repo_id} is not open to everyone.", LOGIN_HINT)
        case 403:
            return InputError(
                "The Hub denies access", f"Your account or token may not read {repo_id}.", f"See {page}"
            )
        case 404:
            return NotFoundError("No such model on the Hub", f"{repo_id} was not found.", f"Check {page}")
        case 429:
            message = "It received too many requests from you or your network (429)."
            return TunerError("The Hub's rate limit is reached", message, "Try again in some minutes.")
        case _ if status >= 500:
            message = f"It failed to respond about {repo_id} ({status})."
            return TunerError("The Hub has a server error", message, _LATER)
    return TunerError("The Hub refused the request", f"It responded {status} about {repo_id}.", f"See {page}")
