"""Builds the executor of a profile: checked first, then made of the installed class."""

from __future__ import annotations

import logging
import os
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..config import load_settings
from ..config.checking import check_value
from ..config.needs import check_needs
from ..config.remarks import Place
from ..config.runconfig import KEYS
from ..config.schema import (
    DGXCLOUD,
    DOCKER,
    KUBEFLOW,
    KUBERAY,
    LEPTON,
    LOCAL,
    SKYPILOT,
    SLURM,
)
from ..config.variables import check_secrets, is_safe
from ..session import current_run
from . import sourced
from .arguments import arguments
from .classes import construct
from .environment import variables_of
from .handover import hand_over
from .homes import check_home, close_home
from .packagers import packager
from .quoting import for_shell, for_template
from .store import store_of_job
from .tunnels import check_words, tunnel

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..config.runconfig import RunConfig
    from .handover import Handover

__all__ = ["Plan", "assemble", "build_executor", "prepare"]

_log = logging.getLogger(__name__)

_INSIDE = f"/nemo_run/{sourced.FOLDER}/{sourced.NAME}"
_EXPANDED = re.compile(r"\$(?:\w|\{)")  # os.path.expandvars, and there is no escape from it


@dataclass(slots=True)
class Plan:
    """What an executor is to be made of. It prints without values.

    Attributes:
        config: the profile.
        handover: variables and secrets.
        store: the store as the job sees it, or None.
        ray: whether the job is one of a Ray cluster.
        settings: path of the env.toml that is read, or "".
    """

    config: RunConfig
    handover: Handover
    store: str | None = None
    ray: bool = False
    settings: str = ""
    notices: list[str] = field(default_factory=list)


def build_executor(config: RunConfig, env_vars: Mapping[str, str] | None = None) -> Any:
    """Build the executor of a profile.

    The job sees the variables of the profile, with ``env_vars`` over them, and where they do not
    say it: ``HF_TOKEN``, ``WANDB_API_KEY``, ``WANDB_PROJECT``, ``WANDB_ENTITY`` and the rest of
    ``[wandb]`` of env.toml, ``WANDB_BASE_URL``, ``LINEAGE_STORE``, and ``LINEAGE_PARENT_RUN``
    where a run is open here. Secrets travel as ``secrets`` of the profile says; the reference of
    executors tells where they rest.

    Args:
        config: the profile.
        env_vars: more variables; they win.

    Returns:
        A ``LocalExecutor``, ``SlurmExecutor``, ... of nemo-run.

    Raises:
        SettingsError: something is missing, or would not arrive as it is (a ValueError).
        ImportError: nemo-run, or what this executor needs besides, is not installed.
    """
    run = current_run()
    parent = {} if run is None else {"LINEAGE_PARENT_RUN": run.id}
    plan = prepare(config, {**parent, **(env_vars or {})})
    executor = assemble(plan)
    for notice in plan.notices:
        _log.warning("%s", notice)
    return executor


def prepare(
    config: RunConfig,
    env_vars: Mapping[str, str] | None = None,
    *,
    store: str | None = None,
    environ: Mapping[str, str] | None = None,
    settings: str | os.PathLike[str] | None = None,
    ray: bool = False,
) -> Plan:
    """Check a profile and decide what its executor carries, without nemo-run.

    Args:
        config: the profile.
        env_vars: more variables; they win.
        store: the lineage store, in place of that of the settings.
        environ: the environment that submits.
        settings: path of env.toml, for its section ``[wandb]``.
        ray: whether the job is one of a Ray cluster.

    Raises:
        SettingsError: as ``build_executor``.
    """
    environ = os.environ if environ is None else environ
    check_value(KEYS["executor"], config.executor, Place(path=("executor",)), "any")
    values = {key: getattr(config, key) for key in KEYS}
    check_needs(values, config.executor, Place())
    check_words(config)
    if config.secrets is not None:
        check_secrets(config.secrets, Place(path=("secrets",)))
    found_settings = load_settings(settings)
    section = None if found_settings is None else found_settings.wandb
    found = variables_of(config, env_vars, section, environ)
    address, notice = store_of_job(config, environ, store)
    if address is not None and found.get("LINEAGE_STORE") is None:
        found.plain["LINEAGE_STORE"] = address
        found.set_apart()
    elif found.get("LINEAGE_STORE") is None and notice is not None:
        found.notices.append(notice)
    handover = hand_over(config, found, environ, ray=ray)
    _refuse_unsafe(config.executor, handover.variables, ray=ray)
    return Plan(
        config, handover, found.get("LINEAGE_STORE"), ray,
        "" if found_settings is None else str(found_settings.path), handover.notices,
    )  # fmt: skip


def assemble(plan: Plan) -> Any:
    """Make the executor that was planned.

    Raises:
        SettingsError: a key that the installed class does not take.
        ImportError: as ``build_executor``.
    """
    config, handover = plan.config, plan.handover
    found = arguments(config, plan.notices)
    variables = dict(handover.variables)
    carried = ""
    if handover.sourced or handover.files:
        carried = sourced.hold(sourced.text(handover.sourced, handover.files))
    if config.executor == SLURM:
        found["tunnel"] = tunnel(config)
        found["container_env"] = _merged(config.container_env, handover.names)
        if carried:
            found["setup_lines"] = sourced.setup_lines(config.setup_lines)
    if config.executor == DGXCLOUD and carried:
        variables["BASH_ENV"] = _INSIDE
    if config.executor not in (LOCAL, KUBERAY):
        check_home()
        found["packager"] = packager(config, carried, plan.settings)
    _add_mounts(found, plan)
    _add_references(found, plan)
    found["env_vars"] = {name: _quoted(config.executor, value) for name, value in variables.items()}
    if handover.secrets or config.executor == DGXCLOUD:
        close_home()
    return construct(config.executor, found)


def _quoted(executor: str, value: str) -> str:
    if executor == SLURM:
        return for_shell(value)
    if executor in (LOCAL, SKYPILOT):
        return for_template(value)
    return value


def _refuse_unsafe(executor: str, variables: Mapping[str, str], *, ray: bool) -> None:
    """Refuse what would be read by a shell and by a request: no quoting serves both."""
    for name, value in variables.items():
        if ray and _EXPANDED.search(value):
            raise Place(path=("env_vars", name)).error(
                "has a $ in its value, which Ray would expand", "set it in the job itself"
            )
        if executor in (DGXCLOUD, KUBEFLOW) and not is_safe(value):
            raise Place(path=("env_vars", name)).error(
                f"has a value that {executor} cannot carry as it is",
                "use letters, digits and _ . / : @ , + = - alone",
            )


def _merged(given: list[str] | None, names: list[str]) -> list[str]:
    return list(dict.fromkeys([*(given or ()), *names]))


def _add_mounts(found: dict[str, Any], plan: Plan) -> None:
    """Mount the files that the job is pointed at, so that nobody but the user can write them."""
    for here, there in plan.handover.mounts:
        if plan.config.executor == DOCKER:
            found["volumes"] = [*found.get("volumes", ()), f"{here}:{there}:ro"]
        elif plan.config.executor == SLURM:
            found["container_mounts"] = [*found.get("container_mounts", ()), f"{here}:{there}:ro"]
        elif plan.config.executor == SKYPILOT:
            found["file_mounts"] = {**found.get("file_mounts", {}), there: here}


def _add_references(found: dict[str, Any], plan: Plan) -> None:
    """Name the secrets of the cluster."""
    references = plan.handover.references
    if not references:
        return
    if plan.config.executor == LEPTON:
        found["secret_vars"] = {**found.get("secret_vars", {}), **references}
        return
    entries = [_reference(name, text) for name, text in references.items()]
    if plan.config.executor == KUBEFLOW:
        found["env_list"] = [*found.get("env_list", ()), *entries]
    elif plan.config.executor == KUBERAY:
        more = found.get("container_kwargs", {})
        plain = [{"name": name, "value": text} for name, text in plan.handover.variables.items()]
        # its env replaces what the class makes of env_vars
        found["container_kwargs"] = {**more, "env": [*plain, *more.get("env", ()), *entries]}


def _reference(name: str, text: str) -> dict[str, Any]:
    secret, _, key = text.partition("/")
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
