"""The variables of a job: who says them, and who wins.

The profile, then the caller over it; an explicit value always wins. What nobody said is filled in:
the logins of Hugging Face and W&B, and what ``[wandb]`` of env.toml says.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..config.masking import holds_secret
from ..config.remarks import Place
from ..config.schema import DGXCLOUD, KUBEFLOW
from ..config.variables import checked_variables, is_safe
from ..credentials import find_hf_token, find_wandb_key, missing_wandb_login, wandb_base_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..config.runconfig import RunConfig

__all__ = ["HF", "SECTION", "WANDB", "Variables", "form_of", "is_secret", "variables_of"]

WANDB, HF = "WANDB_API_KEY", "HF_TOKEN"
_IDENTITY = ("WANDB_IDENTITY_TOKEN_FILE", "WANDB_CREDENTIALS_FILE")
# [wandb] of env.toml: our names, and where W&B's own SDK goes by another one, that too
SECTION = {
    "project": ("WANDB_PROJECT",),
    "entity": ("WANDB_ENTITY",),
    "run_name": ("WANDB_NAME",),
    "group": ("WANDB_GROUP", "WANDB_RUN_GROUP"),
    "job_type": ("WANDB_JOB_TYPE",),
    "mode": ("WANDB_MODE",),
    "tags": ("WANDB_TAGS",),
    "notes": ("WANDB_NOTES",),
    "base_url": ("WANDB_BASE_URL",),
}
_VALUELESS = ("netrc", "inherit")  # forms that hand over no value
_FROM_HERE = ("env", "file")  # forms that hand over the value that stands here


@dataclass(slots=True)
class Variables:
    """What a job is to see. It prints without values.

    Attributes:
        plain: variables that anybody may read.
        secrets: those that nobody else may.
        forms: how a variable is to be handed over, where the profile says so.
        notices: what the user should know.
    """

    plain: dict[str, str] = field(default_factory=dict, repr=False)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    forms: dict[str, str] = field(default_factory=dict)
    notices: list[str] = field(default_factory=list)

    def get(self, name: str) -> str | None:
        """Return the value of a variable, or None."""
        return self.secrets.get(name, self.plain.get(name))

    def set_apart(self) -> None:
        """Take from the plain variables those that are secrets by their names or their looks."""
        for name in [name for name, value in self.plain.items() if holds_secret(name, value)]:
            self.secrets[name] = self.plain.pop(name)


def variables_of(
    config: RunConfig,
    given: Mapping[str, str] | None,
    section: Mapping[str, Any] | None,
    environ: Mapping[str, str],
) -> Variables:
    """Gather the variables of a job.

    Args:
        config: the profile.
        given: what the caller adds; it wins over the profile.
        section: ``[wandb]`` of env.toml, or None.
        environ: the environment that submits.

    Raises:
        SettingsError: a name or a value that would not arrive as it is, or a secret that is to
            be handed over and is nowhere.
    """
    found = Variables(forms=_forms(config))
    said: dict[str, Any] = {**config.env_vars, **(given or {})}
    said = checked_variables(said, config.executor, lambda name: Place(path=("env_vars", name)))
    for name, value in said.items():
        (found.secrets if is_secret(name, value, config) else found.plain)[name] = value
    _add_section(found, config.executor, section or {}, environ)
    _add_logins(found, config, environ)
    for name, form in found.forms.items():
        if form in _FROM_HERE and name not in found.secrets and name != WANDB:
            found.secrets[name] = _from_environment(name, environ)
    found.set_apart()
    return found


def is_secret(name: str, value: str, config: RunConfig) -> bool:
    """Tell whether a variable of a profile is one that nobody else may read."""
    return name in (WANDB, HF) or name in _forms(config) or holds_secret(name, value)


def _forms(config: RunConfig) -> dict[str, str]:
    return dict(config.secrets) if isinstance(config.secrets, dict) else {}


def form_of(name: str, config: RunConfig) -> str | None:
    """Return how the profile wants a variable handed over, or None where it says nothing."""
    if isinstance(config.secrets, dict):
        return config.secrets.get(name)
    return config.secrets


def _add_section(
    found: Variables, executor: str, section: Mapping[str, Any], environ: Mapping[str, str]
) -> None:
    url = environ.get("WANDB_BASE_URL", "").strip() or section.get("base_url")
    url = url or wandb_base_url(environ)
    values = {**section, "base_url": url}
    for key, names in SECTION.items():
        value = values.get(key)
        text = ",".join(value) if isinstance(value, tuple) else str(value or "").strip()
        if not text:
            continue
        if "\n" in text or (executor in (DGXCLOUD, KUBEFLOW) and not is_safe(text)):
            found.notices.append(
                f"[wandb] {key} is not handed over: {executor} cannot carry its value as it is"
            )
            continue
        for name in names:
            if found.get(name) is None:
                found.plain[name] = text


def _add_logins(found: Variables, config: RunConfig, environ: Mapping[str, str]) -> None:
    own = environ if environ is not os.environ else None
    if not _is_settled(HF, found, config):
        token = find_hf_token(own, ask_sdk=True)
        if token is not None:
            found.secrets[HF] = token.value
    if environ.get(_IDENTITY[0]) and WANDB not in found.secrets:
        for name in _IDENTITY:
            if environ.get(name):
                found.plain.setdefault(name, environ[name])
    elif not _is_settled(WANDB, found, config):
        url = found.get("WANDB_BASE_URL")
        if url is not None and url != wandb_base_url(environ):
            own = {**environ, "WANDB_BASE_URL": url}
        key = find_wandb_key(own, ask_sdk=True)
        if key is not None:
            found.secrets[WANDB] = key.value
        elif found.forms.get(WANDB) in _FROM_HERE or (
            found.plain.get("WANDB_PROJECT") and found.plain.get("WANDB_MODE", "online") == "online"
        ):
            found.notices.append(missing_wandb_login(own))


def _is_settled(name: str, found: Variables, config: RunConfig) -> bool:
    """Tell whether no login has to be looked up for a variable."""
    form = form_of(name, config) or ""
    return name in found.secrets or form in _VALUELESS or ":" in form


def _from_environment(name: str, environ: Mapping[str, str]) -> str:
    value = environ.get(name, "")
    if not value.strip():
        raise Place(path=("secrets", name)).error(
            "is to be handed over, and is not set here", "export it before you submit"
        )
    if "\n" in value or "\0" in value:
        raise Place(path=("secrets", name)).error(
            "has a newline in its value", "hand it over as a file"
        )
    return value
