"""Observes NeMo-RL: its checkpoints, once they have their name, and those that are pruned.

Releases up to 0.7 finish a checkpoint in ``finalize_checkpoint``; main does in a thread, and both
ways pass through ``_rename_checkpoint`` there. The version string does not tell them apart: the
method does. In the older form a checkpoint is reported before the pruning that its own end calls:
after going back to an older step, that may delete it.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from .. import session
from ..containers import outside, remark
from .assets import is_gone
from .naming import artifact_name, experiment_name
from .nemo_rl_config import RLConfig, checkpoints, read_info, read_rl_config
from .patch import Call, Patch

if TYPE_CHECKING:
    from collections.abc import Collection

    from nemotron.lineage import Recorder

    from .hooks import Hooks

__all__ = ["PATCHES"]

_log = logging.getLogger(__name__)


class _RL:
    """What is remembered of a run; ``folder`` is that of the checkpoints."""

    def __init__(self) -> None:
        self.configs: dict[str, RLConfig] = {}  # folder -> of its first checkpoint
        self.resumed: set[str] = set()  # folders that training goes on in
        self.names: dict[str, str] = {}
        # folder -> (rank, step); None where no checkpoint has the metric
        self.best: dict[str, tuple[float, int] | None] = {}
        self.called_best: dict[str, int] = {}  # folder -> step that this run gave the alias
        self.recorded: dict[str, str] = {}  # path -> key of the version that lies there
        self.ending = threading.local()  # the checkpoint that this thread is finishing


class _Ranking(NamedTuple):
    """What makes one checkpoint better than another."""

    metric: str | None
    higher_is_better: bool

    @classmethod
    def of(cls, manager: Any) -> _Ranking:
        """Return that of a manager."""
        return cls(
            getattr(manager, "metric_name", None),
            bool(getattr(manager, "higher_is_better", True)),
        )


class _Saved(NamedTuple):
    """A checkpoint that has, or is about to have, its name."""

    path: str
    step: int
    ranking: _Ranking


def _before_finish(call: Call) -> _Saved | None:
    """Note which checkpoint is finished; the older form is reported by its own pruning."""
    hooks = session.hooks()
    if hooks is None:
        return None
    folder, name = os.path.split(os.path.abspath(call["checkpoint_path"]))
    step = int(name.split("_")[2])  # tmp_step_N, as the method itself reads it
    saved = _Saved(os.path.join(folder, f"step_{step}"), step, _Ranking.of(call["self"]))
    if not call.target.endswith("._rename_checkpoint"):
        hooks.state(_RL).ending.saved = saved
    return saved


def _after_finish(call: Call, saved: _Saved | None, _: object) -> None:
    hooks = session.hooks()
    if hooks is None or saved is None:
        return
    is_reported = not call.target.endswith("._rename_checkpoint") and _take(hooks) is None
    if not is_reported:
        _report(hooks, saved)


def _finished(_: Call, __: object) -> None:
    hooks = session.hooks()
    if hooks is not None:
        _take(hooks)


def _take(hooks: Hooks) -> _Saved | None:
    """Return what this thread is finishing and was not reported yet."""
    ending = hooks.state(_RL).ending
    saved: _Saved | None = getattr(ending, "saved", None)
    ending.saved = None
    return saved


def _report(hooks: Hooks, saved: _Saved) -> None:
    folder = os.path.dirname(saved.path)
    hooks.write(folder, lambda recorder: _record(recorder, hooks, saved, folder))


def _record(recorder: Recorder, hooks: Hooks, saved: _Saved, folder: str) -> None:
    rl = hooks.state(_RL)
    config = _first_config(recorder, rl, saved.path, folder)
    try:
        info = read_info(saved.path)
    except (OSError, ValueError) as error:
        info = {"training_info": f"not recorded: {error}"}
    aliases = [f"step_{saved.step}"]
    best = _find_best(rl, saved.ranking, folder, [saved.step])
    if best == saved.step:
        aliases.append("best")
    experiment = experiment_name(
        os.environ, run=hooks.name if hooks.is_named else None, config=config.experiment
    )
    name = rl.names.get(folder)
    if name is None:
        name = rl.names[folder] = artifact_name(
            folder, given=hooks.artifact_name, experiment=experiment, store=hooks.store
        )
    key = uuid4().hex
    recorder.record(
        name, path=saved.path, type="model", aliases=aliases, idempotency_key=key,
        metadata={
            **info, "step": saved.step, "absolute_path": outside(saved.path),
            **remark(saved.path), "framework": "nemo-rl", "algorithm": config.algorithm,
        },
    )  # fmt: skip
    rl.recorded[saved.path] = key
    if best == saved.step:
        rl.called_best[folder] = best
    _move_best(recorder, rl, folder, best)  # one was saved again and is worse, or is gone
    hooks.saved(folder)


def _first_config(recorder: Recorder, rl: _RL, path: str, folder: str) -> RLConfig:
    """Read the configuration once, and record what it names before anything is published."""
    if folder not in rl.configs:
        try:
            config = read_rl_config(os.path.join(path, "config.yaml"))
        except (OSError, ValueError) as error:
            _log.warning("data and models behind %s are not recorded: %s", path, error)
            config = RLConfig()
        rl.configs[folder] = config
        # after a resume the start is inherited through the checkpoint
        start = None if folder in rl.resumed else config.start
        for each in (*config.assets, *([start] if start is not None else [])):
            recorder.record_use(each.target, each.role, split=each.split)
    return rl.configs[folder]


def _find_best(rl: _RL, ranking: _Ranking, folder: str, steps: Collection[int]) -> int | None:
    """Return the step of the best checkpoint that is there, as the manager would choose it.

    Args:
        rl: what is remembered.
        ranking: what makes it the best.
        folder: of the checkpoints.
        steps: of those that were saved since the last look.
    """
    if ranking.metric is None:
        return None
    there = checkpoints(folder)
    best = rl.best.get(folder)
    is_known = folder in rl.best and (best is None or best[1] in there)
    if not is_known or (best is not None and best[1] in steps):
        best, steps = None, there
    for step in steps:
        value = _metric(there[step], ranking.metric) if step in there else None
        if value is not None:  # of equal ones the manager takes the newest, and prunes the others
            rank = (value if ranking.higher_is_better else -value, step)
            best = rank if best is None else max(best, rank)
    rl.best[folder] = best
    return None if best is None else best[1]


def _move_best(recorder: Recorder, rl: _RL, folder: str, best: int | None) -> None:
    """Have the best of those that are left be called so, where this run recorded it."""
    path = os.path.join(folder, f"step_{best}")
    if best is not None and rl.called_best.get(folder) != best and path in rl.recorded:
        recorder.record(
            rl.names[folder], path=path, type="model", aliases=["best"],
            # somebody may have written into it: it is the version that was saved all the same
            idempotency_key=rl.recorded[path],
        )  # fmt: skip
        rl.called_best[folder] = best


def _metric(path: str, metric: str) -> float | None:
    try:
        return _value(read_info(path).get(metric))
    except (OSError, ValueError):
        return None


def _value(value: Any) -> float | None:
    """Return a metric's value; NaN compares with nothing."""
    is_number = isinstance(value, (int, float)) and value == value  # noqa: PLR0124 - NaN is not
    return float(value) if is_number else None


def _before_prune(call: Call) -> tuple[str, dict[int, str]] | None:
    hooks = session.hooks()
    folder = getattr(call["self"], "checkpoint_dir", None)
    if hooks is None or folder is None:
        return None
    saved = _take(hooks)
    if saved is not None:
        _report(hooks, saved)
    folder = os.path.abspath(folder)
    return folder, checkpoints(folder)


def _after_prune(call: Call, before: tuple[str, dict[int, str]] | None) -> None:
    """Record the checkpoints that are gone; one that is being saved again is away for a moment."""
    hooks = session.hooks()
    if hooks is None or before is None:
        return
    folder, known = before
    left = checkpoints(folder)
    gone = {step: path for step, path in known.items() if step not in left}
    rl, ranking = hooks.state(_RL), _Ranking.of(call["self"])
    kept = getattr(call["self"], "keep_top_k", None)
    reason = "pruned" if kept is None else f"keep_top_k keeps {kept}"

    def record(recorder: Recorder) -> None:
        for step, path in sorted(gone.items()):
            aside = os.path.join(folder, f"old_step_{step}")
            if is_gone(path) and is_gone(aside):
                recorder.record_deleted(path, reason)
        _move_best(recorder, rl, folder, _find_best(rl, ranking, folder, ()))

    if gone:
        hooks.write(folder, record)


def _resumed(call: Call, _: object, __: object) -> None:
    """Record the checkpoint that training goes on from; without one it starts anew."""
    hooks = session.hooks()
    given = call["checkpoint_path"]
    if hooks is None or given is None:
        return
    path = os.path.abspath(given)
    folder = os.path.abspath(getattr(call["self"], "checkpoint_dir", None) or Path(path).parent)
    hooks.state(_RL).resumed.add(folder)
    hooks.write(folder, lambda recorder: recorder.record_use(path, "resume"))


_MANAGER = "nemo_rl.utils.checkpoint:CheckpointManager"
_HOME = "https://github.com/NVIDIA-NeMo/RL"
_SHIPPED: dict[str, Any] = {
    "package": "nemo_rl",
    "distribution": "nemo-rl",
    "install": "put a checkout of NVIDIA-NeMo/RL on PYTHONPATH",
    "versions": ">=0.2.1,<0.9",
}

PATCHES = (
    Patch(
        name="nemo-rl-save",
        **_SHIPPED,
        target=f"{_MANAGER}._rename_checkpoint",
        otherwise=(f"{_MANAGER}.finalize_checkpoint",),
        parameters=("self", "checkpoint_path"),
        before=_before_finish,
        after=_after_finish,
        always=_finished,
        why="each checkpoint becomes a version once it has its name",
        upstream=f"{_HOME}/pull/2828",
        remove_when="the manager tells of finished checkpoints",
    ),
    Patch(
        name="nemo-rl-prune",
        **_SHIPPED,
        target=f"{_MANAGER}.remove_old_checkpoints",
        parameters=("self",),
        before=_before_prune,
        always=_after_prune,
        why="checkpoints that keep_top_k and ft_keep_latest_k delete get an end",
        upstream=f"{_HOME}/blob/main/nemo_rl/utils/checkpoint.py",
        remove_when="the manager tells of deletions",
    ),
    Patch(
        name="nemo-rl-resume",
        **_SHIPPED,
        target=f"{_MANAGER}.load_training_info",
        parameters=("self", "checkpoint_path"),
        after=_resumed,
        why="the checkpoint that training goes on from is an input of what is saved later",
        upstream=f"{_HOME}/blob/main/nemo_rl/utils/checkpoint.py",
        remove_when="the manager tells of a resume",
    ),
)
