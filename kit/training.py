"""One line in a training script: what the frameworks save, load and delete becomes lineage.

import nemotron.kit as kit

kit.track(config)
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, Self

from nemotron.lineage import (
    LineageError,
    RunStatus,
    absolute_address,
    choose_store,
)

from . import session
from .patches import wandb_ids
from .patches.engine import look
from .patches.hooks import Hooks
from .patches.naming import check_name
from .resolvers import register_resolvers_from_config

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from nemotron.lineage import Run

    from .patches.patch import Patch, Status

__all__ = [
    "FRAMEWORKS",
    "Tracking",
    "all_patches",
    "is_helper",
    "look_at_all",
    "observe",
    "patches_of",
    "track",
]

_log = logging.getLogger(__name__)

FRAMEWORKS: Mapping[str, str] = {
    "megatron-bridge": "nemotron.kit.patches.megatron_bridge",
    "nemo-rl": "nemotron.kit.patches.nemo_rl",
}


@dataclass
class Tracking:
    """What ``track`` set up; in a ``with`` block, it ends as the block does.

    Attributes:
        id: the run's id, the same on all ranks; empty in a helper process, which records nothing.
        name: what the run is called.
        inputs: the pinned references of the configuration.
    """

    id: str
    name: str
    inputs: tuple[str, ...] = ()

    @property
    def patches(self) -> tuple[Status, ...]:
        """What became of each patch so far."""
        return session.patcher().statuses() if self.id else ()

    @property
    def run(self) -> Run:
        """The run itself, for what a script uses and publishes; other ranks join it.

        Ask for it behind ``if __name__ == "__main__":``. Saving spawns processes that import the
        script once more, and each would open a run of its own.
        """
        return session.start_run(self.name, id=self.id or None)

    def end(self, status: str = RunStatus.OK) -> None:
        """Record what is left, end the run and take the patches back.

        Where the store cannot be written that is told, and fails no training.
        """
        if not self.id:
            return
        try:
            session.end_run(status)
        except (LineageError, OSError) as error:
            _log.warning("the end of run %s is not recorded: %s", self.id, error)
        finally:
            session.patcher().close()

    def __enter__(self) -> Self:
        """Return the tracking itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the run as the block ended."""
        self.end(RunStatus.of(error))


def track(
    config: Any = None,
    *,
    name: str | None = None,
    job_type: str = "training",
    artifact_name: str | None = None,
    artifacts_key: str = "run",
    seal: Literal["background"] | None = None,
    frameworks: Iterable[str] = tuple(FRAMEWORKS),
) -> Tracking:
    """Record every checkpoint of this process's training, and what it is made from.

    Megatron-Bridge and NeMo-RL are observed where they are installed; neither is imported by this.
    Each checkpoint becomes a version with its step, its data and the checkpoint it goes on from;
    one that retention deletes gets an end. Training is never failed, blocked or slowed by it. Call
    it on every rank, before training; calling it twice is calling it once.

    Args:
        config: the configuration: OmegaConf, a mapping, the path of a YAML file, or an object with
            ``to_dict`` such as Megatron-Bridge's. Its ``${art:...}`` are resolved and become
            inputs; its settings are recorded with the run.
        name: of the run; by default that of the script.
        job_type: what kind of work it is.
        artifact_name: what the checkpoints are called; by default after their folder.
        artifacts_key: the section of the configuration that holds references.
        seal: ``background`` has another process read every byte of each checkpoint and record its
            digest, at low priority.
        frameworks: which of ``megatron-bridge`` and ``nemo-rl`` to observe.

    Returns:
        A handle, also a context manager.

    Raises:
        URIError: ``artifact_name`` is no name.
        ArtifactNotFoundError, ArtifactGone, PinsFailed: a reference of the configuration.
        TypeError: ``config`` is none of these.
        ValueError: ``seal`` is another word, or a framework is not known.
    """
    if is_helper():
        return Tracking("", name or session.script())
    if artifact_name is not None:
        check_name(artifact_name)
    if seal not in (None, "background"):
        raise ValueError(f"seal is 'background' or None, not {seal!r}")
    patches = [patch for framework in frameworks for patch in patches_of(framework)]
    settings, inputs = _read(config, artifacts_key)
    hooks = observe(
        name, job_type=job_type, settings=settings, artifact_name=artifact_name,
        seals=seal is not None,
    )  # fmt: skip
    for patch in patches:
        session.patcher().apply(patch)
    return Tracking(hooks.run, hooks.name, tuple(inputs))


def observe(
    name: str | None = None,
    *,
    job_type: str = "training",
    settings: Mapping[str, Any] | None = None,
    artifact_name: str | None = None,
    seals: bool = False,
) -> Hooks:
    """Open the run, or join it, and have hooks record through it; once a process.

    Rank 0 opens the run in the store. Where the store cannot be opened, training goes on: records
    wait beside the checkpoints.
    """
    known = session.hooks()
    if known is not None:
        known.artifact_name = artifact_name or known.artifact_name
        known.seals = known.seals or seals
        _tell_if_late(known.name, name, None if known.has_settings else settings)
        return known
    run = session.current_run()
    if run is not None:
        _tell_if_late(run.name, name, None if session.has_settings() else settings)
    facts = session.run_facts()
    called = name or (facts[1] if facts is not None else session.script())
    run_id = facts[0] if facts is not None else session.next_id(called)
    if run is None and session.is_first_rank():
        try:
            session.start_run(called, job_type=job_type, config=settings, id=run_id)
        except (LineageError, OSError) as error:
            _log.warning(
                "the store cannot be opened: %s; training goes on, and checkpoints are recorded "
                "beside themselves", error,
            )  # fmt: skip
    hooks = Hooks(
        called, run=run_id, store=_address(), job_type=job_type, is_named=bool(name),
        artifact_name=artifact_name, seals=seals, has_settings=settings is not None,
    )  # fmt: skip
    session.observe(hooks)
    session.mirroring().watch()
    return hooks


def _tell_if_late(known: str, name: str | None, settings: Mapping[str, Any] | None) -> None:
    """Say that a run keeps the name and the settings that it began with."""
    if name not in (None, known) or settings is not None:
        _log.warning(
            "the run began before, as %s: its name and its settings stay as they are; to have them "
            "recorded, call track() first", known,
        )  # fmt: skip


def _address() -> str | None:
    """Return the store's address as it is now: the script may change its folder later."""
    try:
        return absolute_address(choose_store(session.address())[0])
    except (LineageError, OSError):  # told already, and each recorder tells it again
        return session.address()


def patches_of(framework: str) -> tuple[Patch, ...]:
    """Return the patches of a framework.

    Raises:
        ValueError: there is no such framework.
    """
    home = FRAMEWORKS.get(framework)
    if home is None:
        known = ", ".join(FRAMEWORKS)
        raise ValueError(f"{framework!r} is not observed; the known frameworks are {known}")
    found: tuple[Patch, ...] = import_module(home).PATCHES
    return found


def all_patches() -> tuple[Patch, ...]:
    """Return every patch there is; that of wandb puts right a fault."""
    return (*(patch for name in FRAMEWORKS for patch in patches_of(name)), wandb_ids.PATCH)


def look_at_all() -> tuple[Status, ...]:
    """Say of every patch whether it fits what is installed; no framework is imported."""
    patches = all_patches()
    return (*map(look, patches[:-1]), wandb_ids.look())


def is_helper() -> bool:
    """Tell whether a spawned helper of the trainer is importing the script once more.

    Saving spawns processes, and each imports the main module again; Python marks that phase.
    """
    return getattr(multiprocessing.current_process(), "_inheriting", False)


def _read(config: Any, artifacts_key: str) -> tuple[Mapping[str, Any] | None, list[str]]:
    """Return the settings of a configuration, and what its references are pinned to."""
    if config is None:
        return None, []
    if callable(getattr(config, "to_dict", None)):
        return config.to_dict(), []
    from omegaconf import DictConfig, OmegaConf  # only where there is a configuration
    from omegaconf.errors import OmegaConfBaseException

    if isinstance(config, (str, os.PathLike)):
        read: Any = OmegaConf.load(os.fspath(config))
    elif isinstance(config, DictConfig):
        read = config
    elif isinstance(config, dict):
        read = OmegaConf.create(config)
    else:
        message = f"config is a mapping or the path of a YAML file, not {type(config).__name__}"
        raise TypeError(message)
    inputs = register_resolvers_from_config(read, artifacts_key)
    try:
        settings: Any = OmegaConf.to_container(read, resolve=True)
    except OmegaConfBaseException as error:  # ${hydra:...}, say, where Hydra did not start us
        _log.warning("the settings are recorded as they are written: %s", error)
        settings = OmegaConf.to_container(read, resolve=False)
    return settings, inputs
