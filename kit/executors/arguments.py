"""Which key of a profile is which field of an executor's class."""

from __future__ import annotations

import os
from dataclasses import fields
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ..config.masking import word
from ..config.remarks import Place, nearest
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
from .classes import CLASSES, accepted, submodule

if TYPE_CHECKING:
    from ..config.runconfig import RunConfig

__all__ = ["arguments", "resolve_partition"]

_RENAMED = {
    LOCAL: {"nproc_per_node": "ntasks_per_node"},
    DOCKER: {"nproc_per_node": "ntasks_per_node", "gpus_per_node": "num_gpus"},
    SLURM: {"nproc_per_node": "ntasks_per_node"},
    SKYPILOT: {"nodes": "num_nodes"},
    DGXCLOUD: {"nproc_per_node": "nprocs_per_node"},
    LEPTON: {"nproc_per_node": "nprocs_per_node"},
    KUBEFLOW: {
        "nodes": "num_nodes", "nproc_per_node": "nprocs_per_node", "container_image": "image",
    },
    KUBERAY: {"container_image": "image"},
}  # fmt: skip
# what the launcher does, or what is made into an object of its own
_NOT_FIELDS = {
    "executor", "mounts", "packager", "packager_include_pattern", "startup_commands", "job_name",
    "detach", "dry_run", "env_vars", "secrets", "ray_mode", "ray_working_dir", "run_partition",
    "batch_partition", "tunnel", "host", "user", "identity", "port", "remote_job_dir",
    "build_partition", "build_time", "build_cache_dir", "options",
}  # fmt: skip
_MOUNTS = {DOCKER: "volumes", SLURM: "container_mounts", LEPTON: "mounts"}


def arguments(config: RunConfig, notices: list[str]) -> dict[str, Any]:
    """Return the arguments for the class of an executor, without those that are not set.

    Args:
        config: the profile.
        notices: gets a sentence for each common key that the class does not have.

    Raises:
        SettingsError: a key that the installed class does not take.
        ImportError: as ``executor_class``.
    """
    executor, takes = config.executor, accepted(config.executor)
    renamed = _RENAMED[executor]
    found: dict[str, Any] = dict(config.options)
    for spec in fields(config):
        value = getattr(config, spec.name)
        if value is None or spec.name in _NOT_FIELDS:
            continue
        name = renamed.get(spec.name, spec.name)
        if name in takes:
            # of two keys for one field the executor's own counts, which comes later
            found[name] = value
        elif executor in KEYS[spec.name].executors:
            raise _refused(executor, spec.name)
        elif not KEYS[spec.name].executors and spec.name != "time":
            notices.append(f"{spec.name} is ignored: the executor {executor} has none")
    for name in config.options:
        if name not in takes:
            raise _refused(executor, name)
    if config.launcher in ("", "none"):
        found.pop("launcher", None)
    elif config.launcher is not None:
        known = submodule("core.execution.launcher").LAUNCHER_MAP
        if config.launcher not in known:
            names = ", ".join([*known, "none"])
            raise Place(path=("launcher",)).error(
                f"{word(config.launcher)} is none of {names}",
                nearest(config.launcher, known, "choose one of them"),
            )
    _add_mounts(found, config, notices)
    _adapt(found, config)
    return found


def _refused(executor: str, key: str) -> Exception:
    others = [each for each in KEYS[key].executors if each != executor] if key in KEYS else []
    advice = f"it is for {', '.join(others)}" if others else "remove it"
    installed = f"nemo-run {version('nemo-run')}"
    return Place(path=(key,)).error(
        f"is not taken by {CLASSES[executor]} of {installed}, which is installed", advice
    )


def _add_mounts(found: dict[str, Any], config: RunConfig, notices: list[str]) -> None:
    if not config.mounts:
        return
    if config.executor in _MOUNTS:
        name = _MOUNTS[config.executor]
        found[name] = [*config.mounts, *found.get(name, ())]
    elif config.executor == SKYPILOT:
        pairs = (str(each).split(":")[:2] for each in config.mounts)
        found["file_mounts"] = {
            **{target: source for source, target in pairs}, **(config.file_mounts or {}),
        }  # fmt: skip
    else:
        notices.append(f"mounts is ignored: the executor {config.executor} has none")


def _adapt(found: dict[str, Any], config: RunConfig) -> None:
    """Do what one executor alone needs."""
    if config.executor == SLURM:
        found["partition"] = resolve_partition(config, config.detach)
    elif config.executor == DGXCLOUD:
        found["client_secret"] = _secret(config.client_secret or "")
        # documented profiles say the number of GPUs as nproc_per_node
        if config.gpus_per_node is None and config.nproc_per_node:
            found["gpus_per_node"] = config.nproc_per_node
    elif config.executor == DOCKER:
        if config.runtime == "nvidia" and config.nproc_per_node:
            found.setdefault("num_gpus", config.nproc_per_node)
    elif config.executor == SKYPILOT:
        _split_gpus(found, config)
    elif config.executor == KUBERAY and config.worker_groups:
        group = submodule("core.execution.kuberay").KubeRayWorkerGroup
        found["worker_groups"] = [group(**each) for each in config.worker_groups]


def _split_gpus(found: dict[str, Any], config: RunConfig) -> None:
    """Take ``A100:8``, as SkyPilot writes it, apart: nemo-run has two fields for it."""
    if isinstance(config.gpus, str):
        found["gpus"], _, number = config.gpus.partition(":")
        if number.isdigit():
            found.setdefault("gpus_per_node", int(number))
    if config.gpus and config.nproc_per_node:
        found.setdefault("gpus_per_node", config.nproc_per_node)


def resolve_partition(config: RunConfig, is_launch: bool) -> str | None:  # noqa: FBT001 - documented
    """Return the partition: of detached runs, of attached ones, else the common one.

    Args:
        config: the profile.
        is_launch: whether the job is detached.

    >>> from nemotron.kit import RunConfig
    >>> resolve_partition(RunConfig(partition="batch", run_partition="debug"), is_launch=False)
    'debug'
    """
    special = config.batch_partition if is_launch else config.run_partition
    return special or config.partition


def _secret(text: str) -> str:
    """Return a secret from where ``env:NAME`` or ``file:/path`` says."""
    where = Place(path=("client_secret",))
    if text.startswith("env:"):
        value = os.environ.get(text.removeprefix("env:"), "")
        if not value:
            raise where.error(f"names {text}, which is not set", "export it before you submit")
        return value
    if text.startswith("file:"):
        try:
            with open(os.path.expanduser(text.removeprefix("file:")), encoding="utf-8") as file:
                return file.read().strip()
        except OSError as error:
            raise where.error(
                f"names {text}, which cannot be read ({error.strerror})", "correct the path"
            ) from error
    return text
