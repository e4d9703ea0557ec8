"""What the SDK of W&B raises, turned into ``Retry``, ``Refused`` and ``MirrorUnready``."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import MirrorUnready
from .base import Refused, Retry
from .wandb_sdk import own_faults, sdk

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["asking"]

_STATUS = re.compile(r"(?:returned error|Error|HTTP|status(?: code)?:?) (\d{3})\b")


@contextmanager
def asking(what: str, *, unready: bool = False) -> Iterator[None]:
    """Turn what the SDK raises into our three kinds; what is not there ends the block.

    Args:
        what: the subject, for the sentence.
        unready: a refusal means that W&B cannot be used from here at all.
    """
    wandb = sdk()
    faults: tuple[type[Exception], ...] = (
        *own_faults(),
        ValueError,
        TypeError,
        RuntimeError,
        LookupError,
        OSError,
    )
    try:
        yield
    except faults as error:
        text = str(error).strip() or type(error).__name__
        status = _status(error)
        if status is None and _is_absent(error, text):
            return
        said = f"{what}: {text}"
        if status == 401 or (unready and (status in (403, 404) or _lacks_login(wandb, error))):
            raise MirrorUnready(
                f"W&B refuses the login ({text.rstrip('.')}). Try: wandb login"
            ) from error
        if isinstance(error, (TypeError, LookupError)):
            raise  # a release that behaves otherwise: the worker logs it with its traceback
        if status is not None and 400 <= status < 500 and status not in (408, 409, 425, 429):
            raise Refused(said) from error
        if status is None and isinstance(error, ValueError) and not _is_silent(text):
            raise Refused(said) from error
        raise Retry(said) from error


def _is_absent(error: Exception, text: str) -> bool:
    inner = getattr(error, "exc", None)
    return (isinstance(inner, ValueError) and "not found" in text) or "Could not find" in text


def _is_silent(text: str) -> bool:
    """Tell whether a ValueError is the SDK's word for an answer that did not come."""
    return any(
        word in text for word in ("timed out", "timeout", "connection", "EOF", "returned error 5")
    )


def _lacks_login(wandb: Any, error: Exception) -> bool:
    """Tell whether there is no key, or one that no server was asked about: it looks like none."""
    if isinstance(error, wandb.errors.AuthenticationError):
        said = str(error)  # of a key that the server was asked about, no answer came
        return "verif" not in said or "verification failed" in said
    return isinstance(error, wandb.errors.UsageError)


def _status(error: BaseException | None) -> int | None:
    """Return the HTTP status behind an error, wherever this release of the SDK keeps it."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        response = getattr(error, "response", None)
        for name in ("http_status", "status_code"):
            status = getattr(response, name, None)
            if isinstance(status, int) and status:
                return status
        found = _STATUS.search(str(error))
        if found:
            return int(found[1])
        if "Permission denied" in str(error):  # the word of wandb 0.26
            return 403
        error = getattr(error, "exc", None) or error.__cause__ or error.__context__
    return None
