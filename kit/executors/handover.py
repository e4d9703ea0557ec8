"""Decides how each secret reaches the job, and what the executor has to carry for that."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..config.remarks import Place
from ..config.schema import DOCKER, KUBERAY, LEPTON, LOCAL, SKYPILOT, SLURM
from ..credentials import hf_token_file, missing_wandb_login, wandb_netrc
from .environment import HF, WANDB, form_of
from .forms import (
    CARRIAGES,
    ENV,
    FILE,
    INHERIT,
    NETRC,
    PATH,
    RAY,
    RAY_ON_SLURM,
    SECRET,
    kind_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..config.runconfig import RunConfig
    from .environment import Variables
    from .forms import Carriage

__all__ = ["Handover", "carriage_of", "hand_over"]

_INSIDE = "/run/secrets"  # where containers find mounted files
_THERE = {WANDB: "~/.netrc", HF: "~/.cache/huggingface/token"}  # on machines of our own
# a path in place of a secret: the variable that names it, its name in containers, how to get one
_POINTERS = {
    WANDB: ("NETRC", "netrc", "wandb login"),
    HF: ("HF_TOKEN_PATH", "hf-token", "hf auth login"),
}


@dataclass(slots=True)
class Handover:
    """What an executor carries. It prints without values.

    Attributes:
        variables: for ``executor.env_vars``, as the job is to see them.
        sourced: secrets for a file that the job sources.
        files: by variable, files of the user that the job reads.
        mounts: (path here, path in the container).
        references: by variable, the secret of the cluster that holds it.
        inherited: variables that the job inherits.
        secrets: what must be shown nowhere, by name.
        notices: what the user should know.
    """

    variables: dict[str, str] = field(default_factory=dict, repr=False)
    sourced: dict[str, str] = field(default_factory=dict, repr=False)
    files: dict[str, str] = field(default_factory=dict)
    mounts: list[tuple[str, str]] = field(default_factory=list)
    references: dict[str, str] = field(default_factory=dict)
    inherited: list[str] = field(default_factory=list)
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    notices: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """All variables that the job sees."""
        parts = (self.variables, self.sourced, self.files, self.references, self.inherited)
        return list(dict.fromkeys(name for part in parts for name in part))


def carriage_of(config: RunConfig, *, ray: bool) -> Carriage:
    """Return how the jobs of a profile get what they need.

    Raises:
        SettingsError: there are no Ray jobs on this executor.
    """
    if not ray:
        return CARRIAGES[config.executor]
    known = {LOCAL: RAY, SLURM: RAY_ON_SLURM, KUBERAY: KUBERAY}
    if config.executor not in known:
        raise Place(path=("executor",)).error(
            f"{config.executor} runs no Ray jobs", f"choose one of {', '.join(known)}"
        )
    return CARRIAGES[known[config.executor]]


def hand_over(
    config: RunConfig, found: Variables, environ: Mapping[str, str], *, ray: bool = False
) -> Handover:
    """Decide for each secret.

    Args:
        config: the profile.
        found: the variables of the job.
        environ: the environment that submits.
        ray: whether the job is one of a Ray cluster.

    Raises:
        SettingsError: a form that the executor does not have, or that nothing is there for.
    """
    return _Decision(config, found, environ, carriage_of(config, ray=ray)).made()


class _Decision:
    """The decision for one job."""

    def __init__(
        self, config: RunConfig, found: Variables, environ: Mapping[str, str], carriage: Carriage
    ) -> None:
        self._config, self._found, self._carriage = config, found, carriage
        url = found.get("WANDB_BASE_URL")
        self._environ = {**environ, "WANDB_BASE_URL": url} if url else environ
        self._over_ssh = config.executor == SLURM and config.tunnel == "ssh"
        self._result = Handover(
            dict(found.plain), secrets=dict(found.secrets), notices=list(found.notices)
        )

    def made(self) -> Handover:
        told = []
        for name in dict.fromkeys((WANDB, HF, *self._found.secrets, *self._found.forms)):
            form = self._form(name)
            if form is None:
                continue
            self._check(name, form)
            self._hand(name, form)
            if self._carriage.rests[kind_of(form)].is_told and name in self._result.variables:
                told.append(name)
        if told:
            self._result.notices.append(self._warning(told))
        return self._result

    def _form(self, name: str) -> str | None:
        """Choose the form of a variable; None where there is nothing to be handed over."""
        asked, default = form_of(name, self._config), self._carriage.default
        is_own = name in self._found.forms
        has_value = name in self._found.secrets
        if asked in (NETRC, INHERIT) and not is_own and has_value:
            asked = None  # it stands in env_vars, so neither file nor environment stands for it
        if asked is not None and (is_own or has_value or name in _POINTERS):
            return asked
        if not has_value:
            return None
        if default == NETRC and (name not in _POINTERS or self._pointed(name) is None):
            return ENV
        return default

    def _check(self, name: str, form: str) -> None:
        rests, own = self._carriage.rests, name in self._found.forms
        where = Place(path=("secrets", name) if own else ("secrets",))
        if kind_of(form) not in rests:
            known = ", ".join(f"{each}..." if each.endswith(":") else each for each in rests)
            raise where.error(
                f"{form} is no way to hand over a secret here ({self._config.executor})",
                f"choose one of {known}",
            )
        if form == INHERIT and self._over_ssh:
            raise where.error("nothing is inherited over ssh", "choose file or netrc")
        if form == NETRC and name not in _POINTERS:
            raise where.error(
                "no file stands for this variable", f"netrc is for {' and '.join(_POINTERS)}"
            )
        if own and form in (NETRC, INHERIT) and name in self._found.secrets:
            raise where.error(f"is {form}, and env_vars holds a value", "take one of them out")
        if kind_of(form) == SECRET and self._config.executor != LEPTON and "/" not in form:
            raise where.error("names no key of the secret", "write secret:NAME/KEY")

    def _hand(self, name: str, form: str) -> None:
        result, value = self._result, self._found.secrets.get(name)
        if form == ENV and value is not None:
            result.variables[name] = value
        elif form == FILE and value is not None:
            result.sourced[name] = value
        elif form == NETRC:
            self._point(name)
        elif form == INHERIT and self._environ.get(name):
            result.inherited.append(name)
        elif form.startswith(PATH):
            result.files[name] = form.removeprefix(PATH)
        elif form.startswith(SECRET):
            result.references[name] = form.removeprefix(SECRET)

    def _point(self, name: str) -> None:
        """Hand over the path of the file that holds a secret."""
        variable, base, _ = _POINTERS[name]
        if variable in self._result.variables or self._over_ssh:
            return  # the user names a file of the other side; or the cluster's own login counts
        path = self._pointed(name)
        if path is None:
            self._miss(name)
        elif self._config.executor == SKYPILOT:
            self._result.mounts.append((path, _THERE[name]))
        elif self._config.container_image and self._config.executor in (DOCKER, SLURM):
            self._result.mounts.append((path, f"{_INSIDE}/{base}"))
            self._result.variables[variable] = f"{_INSIDE}/{base}"
        else:
            self._result.variables[variable] = path

    def _pointed(self, name: str) -> str | None:
        return wandb_netrc(self._environ) if name == WANDB else hf_token_file(self._environ)

    def _miss(self, name: str) -> None:
        """Say that no file holds a secret, where one is wanted."""
        advice = f"run: {_POINTERS[name][2]}"
        if name == WANDB:
            missing = missing_wandb_login(self._environ)
            advice = missing[missing.index("run: ") :].partition(" (")[0]
        is_tracked = name == WANDB and "WANDB_PROJECT" in self._found.plain
        if is_tracked or name in self._found.forms or self._environ.get(name):
            raise Place(path=("secrets",)).error(f"there is no file that holds {name}", advice)

    def _warning(self, names: list[str]) -> str:
        rest, others = self._carriage.rests[ENV], self._carriage.rests
        better = next(form for form in (SECRET, NETRC, FILE) if form in others)
        example = f"{better}NAME/KEY" if better == SECRET else better
        example = "secret:NAME" if self._config.executor == LEPTON else example
        return (
            f"{', '.join(names)} can be read by {rest.readers} ({rest.place}); "
            f'secrets = {{ {names[0]} = "{example}" }} avoids that'
        )
