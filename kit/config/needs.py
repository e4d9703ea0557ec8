"""What an executor cannot do without; all that is missing is said at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .runconfig import KEYS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .remarks import Place

__all__ = ["SSH", "check_needs"]

SSH = ("host", "user", "remote_job_dir")


def check_needs(values: Mapping[str, Any], executor: str, place: Place) -> None:
    """Check that what an executor cannot do without is there.

    Raises:
        SettingsError: something is missing.
    """
    missing = [key for key in KEYS if executor in KEYS[key].needs and _blank(values.get(key))]
    if missing:
        raise place.error(
            f"the executor {executor} needs {', '.join(missing)}",
            "add what is missing here, or in a profile that it extends",
        )
    missing = [key for key in SSH if _blank(values.get(key))]
    if values.get("tunnel") == "ssh" and missing:
        raise place.below("tunnel").error(
            f"ssh needs {', '.join(missing)}",
            "add what is missing here, or in a profile that it extends",
        )


def _blank(value: object) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())
