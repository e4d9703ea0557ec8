"""What env.toml says about W&B: its section ``[wandb]``."""

from __future__ import annotations

import difflib
import logging
import os
from typing import Any

from nemotron.lineage import find_settings, read_settings

from .wandb import WandbConfig

__all__ = ["load_wandb_config"]

_log = logging.getLogger(__name__)

_TEXTS = ("project", "entity", "run_name", "notes")
_KNOWN = (*_TEXTS, "name", "tags")
_SECRETS = ("api_key", "password")
# understood by W&B, but not a matter of the project
_VARIABLES = {
    "base_url": "WANDB_BASE_URL",
    "group": "WANDB_GROUP",
    "job_type": "WANDB_JOB_TYPE",
    "mode": "WANDB_MODE",
}


def load_wandb_config(config_path: str | os.PathLike[str] | None = None) -> WandbConfig | None:
    """Read the section ``[wandb]`` of env.toml.

    ::

        [wandb]
        project = "nemotron"      # without it, or blank: tracking is off
        entity = "my-team"
        run_name = "first-try"    # or name
        tags = ["sft", "nano"]
        notes = "what it is about"

    A key that is not known is ignored, with a warning.

    Args:
        config_path: the file; by default ``NEMOTRON_ENV_FILE``, else env.toml in the working
            folder or above it, not beyond a pyproject.toml.

    Returns:
        The configuration, or None where there is no file or no such section.

    Raises:
        FileNotFoundError: ``config_path`` is not there.
        StoreError: the file cannot be read, or ``NEMOTRON_ENV_FILE`` names none.
        ValueError: a key of the section is a secret or has the wrong type.
    """
    if config_path is None:
        path = find_settings(os.environ, os.curdir)
    else:
        path = os.fspath(config_path)
        if not os.path.isfile(path):
            raise FileNotFoundError(f"{path} is not there; correct the path of env.toml")
    section = read_settings(path).get("wandb") if path is not None else None
    if path is None or section is None:
        return None
    if not isinstance(section, dict):
        message = f"{path}: wandb must be a section, [wandb]"  # its value may be a key
        raise ValueError(message)  # noqa: TRY004 - one kind of error for what a file says
    return _wandb_config(f"{path}: [wandb]", section)


def _wandb_config(place: str, section: dict[str, Any]) -> WandbConfig:
    for key in section:
        if key.lower() in _SECRETS:
            raise ValueError(f"{place} {key} does not belong here; remove it and run: wandb login")
        if key not in _KNOWN:
            _log.warning("%s %s is ignored: %s", place, key, _instead(key))
    texts = {key: section.get(key) for key in (*_TEXTS, "name")}
    for key, text in texts.items():
        if text is not None and not isinstance(text, str):
            raise ValueError(f"{place} {key} must be a text, not {text!r}")
    tags = section.get("tags", [])
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise ValueError(f'{place} tags must be a list of texts, e.g. ["sft"], not {tags!r}')
    name = texts.pop("name")
    texts["run_name"] = texts["run_name"] or name
    config = WandbConfig(**texts, tags=tuple(tags))
    if not config.enabled and any(section.values()):
        _log.warning("%s names no project, so tracking stays off; add project", place)
    return config


def _instead(key: str) -> str:
    if key in _VARIABLES:
        return f"set {_VARIABLES[key]} in the environment"
    near = difflib.get_close_matches(key, _KNOWN, n=1)
    known = ", ".join(_KNOWN)
    return f"did you mean {near[0]}?" if near else f"the known keys are {known}"
