"""The store and the run that this process works in: one slot behind one lock.

Every thread sees the same slot. What is read before there is a run is remembered, and becomes an
input of the run that the first ``save`` opens: a notebook that only reads leaves no run behind.
"""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nemotron.lineage import (
    Launch,
    Lineage,
    LineageError,
    RunStatus,
    Version,
    chosen_mirrors,
    look_in_wandb,
)
from nemotron.lineage import open as open_store

from .containers import outside

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemotron.lineage import Run, Source

    from .mirroring import Mirroring
    from .patches.engine import Patcher
    from .patches.hooks import Hooks

__all__ = [
    "KitConfig",
    "current_run",
    "end_at_exit",
    "end_run",
    "get_config",
    "has_settings",
    "hooks",
    "init",
    "is_first_rank",
    "is_initialized",
    "mirroring",
    "next_id",
    "observe",
    "patcher",
    "remember",
    "reserve",
    "run_facts",
    "start_run",
    "store",
    "use",
    "used",
]

_log = logging.getLogger(__name__)

BACKENDS = ("fsspec", "manifest", "wandb")


@dataclass(frozen=True, slots=True)
class KitConfig:
    """What ``init`` was told.

    Attributes:
        backend: ``fsspec`` or ``manifest`` (a store under ``root``), or ``wandb`` (the default
            store, mirrored to W&B).
        root: folder or address of the store; None means the default one.
        wandb_project: project for the W&B mirror.
        wandb_entity: entity for the W&B mirror.
    """

    backend: str = "fsspec"
    root: str | None = None
    wandb_project: str | None = None
    wandb_entity: str | None = None


@dataclass(frozen=True, slots=True)
class _Use:
    """What is to be recorded once there is a run."""

    reference: str
    facts: Mapping[str, Any]


@dataclass(slots=True)
class _Slot:
    config: KitConfig | None = None
    store: Lineage | None = None
    run: Run | None = None
    has_settings: bool = False  # the run began with them
    uses: list[_Use] = field(default_factory=list)  # while there is no run
    used: list[Version | Source] = field(default_factory=list)  # by the run
    process: int = 0  # that opened the run; a forked child shares it but does not end it
    hooks: Hooks | None = None  # while frameworks are observed
    patcher: Patcher | None = None
    mirroring: Mirroring | None = None  # while W&B is told
    reserved: tuple[str, str] | None = None  # id and name of a run that another rank opens
    occasions: Counter[str] = field(default_factory=Counter)  # how often a name was given an id


_slot = _Slot()
_lock = threading.RLock()


def init(
    backend: str = "fsspec",
    root: str | os.PathLike[str] | None = None,
    wandb_project: str | None = None,
    wandb_entity: str | None = None,
) -> None:
    """Choose the store that artifacts are saved to and read from.

    Without it, the default store is used: ``LINEAGE_STORE``, env.toml, or a file in the user's
    data folder (``lineage where`` says which). Every backend resolves, moves aliases and records
    lineage alike. The store is opened, and made where there is none, when it is first used.
    Calling it again ends the run of the store before, and what ``track`` observed.

    Args:
        backend: ``fsspec`` or ``manifest``: a store under ``root``; ``wandb``: the default store,
            for the W&B mirror.
        root: a folder (a directory journal that several hosts may share), a ``.db`` file, or
            their ``file://`` and ``sqlite://`` addresses.
        wandb_project: project for the W&B mirror; required by the backend ``wandb``.
        wandb_entity: entity for the W&B mirror.

    Raises:
        ValueError: an unknown backend, or one without what it needs.
        LineageError: ``root`` holds artifacts of an earlier layout.
    """
    if backend not in BACKENDS:
        raise ValueError(f"{backend!r} is no backend; the known ones are {', '.join(BACKENDS)}")
    if backend == "wandb" and not wandb_project:
        raise ValueError("backend='wandb' needs wandb_project, e.g. wandb_project='nemotron'")
    if backend != "wandb" and root is None:
        raise ValueError(f"backend={backend!r} needs root, the folder of the store")
    chosen = None if root is None else os.fspath(root)
    if chosen is not None:
        _refuse_earlier_layout(chosen)
    with _lock:
        if hooks() is not None:
            _log.warning(
                "the store is chosen anew, and checkpoints are observed no more: call kit.init() "
                "before track(), or track() again",
            )  # fmt: skip
        reset()
        _slot.config = KitConfig(backend, chosen, wandb_project, wandb_entity)


def get_config() -> KitConfig:
    """Return what ``init`` was told.

    Raises:
        RuntimeError: it was not called.
    """
    if _slot.config is None:
        raise RuntimeError("nemotron.kit is not set up; call nemotron.kit.init(root=...) first")
    return _slot.config


def is_initialized() -> bool:
    """Tell whether ``init`` was called."""
    return _slot.config is not None


def store() -> Lineage:
    """Return the open store: that of ``init``, else the default one."""
    with _lock:
        if _slot.store is None:
            _slot.store = open_store(address(), outside=outside)
            config = _slot.config or KitConfig()
            with suppress(LineageError):  # a broken env.toml is told by whoever needs it
                look_in_wandb(_slot.store, project=config.wandb_project, entity=config.wandb_entity)
        return _slot.store


def address() -> str | None:
    """Return the address of the store, without opening it; None means the default one."""
    return None if _slot.config is None else _slot.config.root


def start_run(
    name: str | None = None,
    *,
    job_type: str | None = None,
    config: Mapping[str, Any] | None = None,
    id: str | None = None,
) -> Run:
    """Open the run that this process works in, or return the one that is open.

    It is ended by ``end_run``, by a ``with`` block around it, or when the program ends: as failed
    after an exception, as aborted after Ctrl-C. That ``sys.exit(1)`` ended the program Python tells
    nobody by then, and the run is ok; a ``with`` block sees it.

    Args:
        name: what kind of run it is, e.g. ``sft``; by default the name of the script.
        job_type: e.g. ``data-prep``, ``training``.
        config: its settings.
        id: of a run to join; None works it out from what the launcher says.
    """
    with _lock:
        run = current_run()
        if run is None:
            known, called = _slot.reserved or (None, None)
            run = store().run(
                name or called or script(), job_type=job_type, config=config, id=id or known
            )
            _slot.run, _slot.process = run, os.getpid()
            _slot.has_settings = config is not None
            uses, _slot.uses = _slot.uses, []
            _slot.used = [run.use(each.reference, **each.facts) for each in uses]
            if _slot.mirroring is not None or _is_mirrored():
                mirroring().run_began()
        return run


def script() -> str:
    """Return what a run is called that nobody named: the script."""
    return Path(sys.argv[0] or "python").stem or "python"


def current_run() -> Run | None:
    """Return the run that is open in this process, in whatever thread, or None."""
    run = _slot.run
    return run if run is not None and run.is_open else None


def has_settings() -> bool:
    """Tell whether the open run began with its settings."""
    return current_run() is not None and _slot.has_settings


def end_run(status: str = RunStatus.OK) -> None:
    """End the open run, if there is one: ``ok``, ``failed`` or ``aborted``."""
    with _lock:
        observing, _slot.hooks = _slot.hooks, None
        if observing is not None:
            observing.close()  # what it saw comes before the end
        run, _slot.run = current_run(), None
        _slot.reserved = None
        if run is not None and _slot.process == os.getpid():
            run.end(status)
        mirrored = _slot.mirroring
    if mirrored is not None:
        mirrored.run_ended()


def observe(hooks: Hooks | None) -> None:
    """Have the hooks of frameworks record through this, or through nothing."""
    with _lock:
        _slot.hooks = hooks


def hooks() -> Hooks | None:
    """Return what hooks record through in this process, or None when they record nothing.

    A forked child records nothing: it is a helper of the trainer, and its parent records.
    """
    found = _slot.hooks
    return found if found is not None and found.is_mine else None


def patcher() -> Patcher:
    """Return what patches frameworks in this process."""
    with _lock:
        if _slot.patcher is None:
            from .patches.engine import Patcher  # only where something is patched

            _slot.patcher = Patcher()
        return _slot.patcher


def mirroring() -> Mirroring:
    """Return what keeps the W&B run of this process and the lineage run one."""
    with _lock:
        if _slot.mirroring is None:
            from .mirroring import Mirroring  # only where W&B is told

            _slot.mirroring = Mirroring()
        return _slot.mirroring


def run_facts() -> tuple[str, str] | None:
    """Return id and name of the run of this process, whichever rank opens it; None without one."""
    run, observing = current_run(), hooks()
    if run is not None:
        return run.id, run.name
    return (observing.run, observing.name) if observing is not None else _slot.reserved


def reserve(name: str) -> None:
    """Work out the run of this process without opening it: the first rank does."""
    with _lock:
        if run_facts() is None:
            _slot.reserved = (next_id(name), name)


def _is_mirrored() -> bool:
    """Tell whether all runs of the store go to W&B."""
    if _slot.config is not None and _slot.config.backend == "wandb":
        return True
    try:
        return "wandb" in chosen_mirrors(os.environ)
    except LineageError:  # a broken env.toml is told by whoever needs it
        return False


def next_id(name: str) -> str:
    """Return the id of the next run of a name: the same on all ranks of a launch."""
    with _lock:
        _slot.occasions[name] += 1
        return Launch.read(os.environ).run_id(name, _slot.occasions[name] - 1)


def is_first_rank() -> bool:
    """Tell whether this is rank 0 of its job, or a process on its own."""
    return Launch.read(os.environ).rank == 0


def use(reference: str | os.PathLike[str], **facts: Any) -> Version | Source:
    """Record that something is read: on the run, or on the one that the first save will open.

    Args:
        reference: as for ``Run.use``.
        facts: role, weight, split, ... as for ``Run.use``.

    Raises:
        URIError, ArtifactNotFoundError, ArtifactGone: as ``Lineage.resolve``.
    """
    with _lock:
        run = current_run()
        if run is None:
            found = store().refer(reference)
            remember(str(found.uri), **facts)
        else:
            found = run.use(reference, **facts)
            _slot.used.append(found)
        return found


def remember(reference: str, **facts: Any) -> None:
    """Note a use of something that was resolved before, without opening a store for it."""
    with _lock:
        if current_run() is not None:
            use(reference, **facts)
        elif (each := _Use(reference, facts)) not in _slot.uses:
            _slot.uses.append(each)


def used() -> list[Version | Source]:
    """Return what the run has used so far."""
    return list(_slot.used)


def reset() -> None:
    """End the run, close the store and forget the settings."""
    with _lock:
        end_run()
        if _slot.store is not None:
            _slot.store.close()
        if _slot.patcher is not None:
            _slot.patcher.close()
        if _slot.mirroring is not None:
            _slot.mirroring.close()
            _slot.mirroring.unwatch()
        _slot.config = _slot.store = _slot.patcher = _slot.mirroring = None
        _slot.uses, _slot.used = [], []


def _refuse_earlier_layout(address: str) -> None:
    root = Path(address.removeprefix("file://"))
    for name, kind in ((".art_index.json", "registry"), ("*/v*/manifest.json", "manifest")):
        if next(root.glob(name), None) is not None:
            raise LineageError(
                f"{root} holds artifacts of an earlier layout; choose another root and bring them "
                f"in with: lineage import {kind} {root}"
            )


def end_at_exit() -> None:
    """End the run as the program ends."""
    # the interpreter leaves an exception that ended the program here
    error = getattr(sys, "last_value", None)
    try:
        end_run(RunStatus.of(error))
    except (LineageError, OSError) as error:  # nobody is left to hear it
        _log.warning("the end of the run is not recorded: %s", error)
    if _slot.mirroring is not None:
        _slot.mirroring.close()


def _renew_lock() -> None:
    global _lock  # noqa: PLW0603 - a thread of the parent may have held it at the fork
    _lock = threading.RLock()


atexit.register(end_at_exit)
os.register_at_fork(after_in_child=_renew_lock)
