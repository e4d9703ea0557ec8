"""Observes Megatron-Bridge: what it saves, loads and deletes.

The last rank is told of saves and loads, rank 0 of deletions. One signature serves every release
from 0.2 to main. The step is read from the folder's name: asynchronous saves pass the live one.
"""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import session
from ..containers import outside, remark
from .assets import absolute, asset, is_gone, iteration_of
from .bridge_config import BridgeConfig, read_bridge_config
from .naming import artifact_name, experiment_name
from .patch import Call, Patch
from .train_state import read_train_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nemotron.lineage import Recorder

    from .hooks import Hooks

__all__ = ["PATCHES"]

_log = logging.getLogger(__name__)

# seconds after which deletions of a background thread are looked for
_LOOKS = (0.2, 1.0, 5.0)
_LAST_LOOK = 30.0  # and again, while that thread is at it
_PATIENCE = 5.0  # seconds that the last look waits for that thread, when the run ends before it


class _Bridge:
    """What is remembered of a run."""

    def __init__(self) -> None:
        self.configs: dict[str, BridgeConfig] = {}  # folder -> of its first checkpoint
        self.live: BridgeConfig | None = None  # of the process, while it loads
        self.loads: list[tuple[str, str]] = []  # (checkpoint, folder) whose role is not known yet
        self.has_loaded = False  # a checkpoint; the start is inherited through it
        self.names: dict[str, str] = {}
        self.losses: dict[str, Any] = {}


# ---------------------------------------------------------------------- saving


def _saved(call: Call) -> None:
    """Record a checkpoint that is whole on the disk."""
    hooks = session.hooks()
    if hooks is None:
        return
    # as configured, they may be relative
    path, folder = absolute(call["checkpoint_path"]), absolute(call["save_dir"])
    bridge = hooks.state(_Bridge)
    losses = {name: _number(value) for name, value in bridge.losses.items()}
    hooks.write(folder, lambda recorder: _record(recorder, hooks, bridge, path, folder, losses))


def _record(
    recorder: Recorder, hooks: Hooks, bridge: _Bridge, path: str, folder: str,
    losses: Mapping[str, float | None],
) -> None:  # fmt: skip
    config = _first_config(recorder, bridge, path, folder)
    step = iteration_of(path)
    name = bridge.names.get(folder)
    if name is None:
        experiment = experiment_name(
            os.environ, run=hooks.name if hooks.is_named else None, config=config.experiment
        )
        name = bridge.names[folder] = artifact_name(
            folder, given=hooks.artifact_name, experiment=experiment, store=hooks.store
        )
    recorder.record(
        name, path=path, type="model",
        metadata={
            "iteration": step, "absolute_path": outside(folder),
            "checkpoint_path": outside(path), **remark(path),
            "framework": "megatron-bridge", "kind": _kind(config, folder), **config.facts,
            **_counters(path, config), **losses,
        },
        aliases=[] if step is None else [f"iter_{step:07d}", f"step_{step}"],
    )  # fmt: skip
    hooks.saved(folder)


def _first_config(recorder: Recorder, bridge: _Bridge, path: str, folder: str) -> BridgeConfig:
    """Read the configuration once, and record what it names before anything is published."""
    if folder not in bridge.configs:
        try:
            config = read_bridge_config(os.path.join(path, "run_config.yaml")) or BridgeConfig()
        except (OSError, ValueError) as error:
            _log.warning("data and tokenizer of %s are not recorded: %s", path, error)
            config = BridgeConfig()
        bridge.configs[folder] = config
        for each in config.assets:
            recorder.record_use(each.target, each.role, weight=each.weight, split=each.split)
        _record_loads(recorder, bridge, config)
        _record_hub_start(recorder, bridge, config)
    return bridge.configs[folder]


def _kind(config: BridgeConfig, folder: str) -> str:
    if config.is_conversion:
        return "conversion"
    temporary = config.non_persistent or os.path.join(config.save or "", "non_persistent")
    return "non_persistent" if os.path.abspath(temporary) == folder else "persistent"


def _counters(path: str, config: BridgeConfig) -> dict[str, Any]:
    """Read the counters that lie in the checkpoint; without torch."""
    try:
        counters: dict[str, Any] = dict(read_train_state(os.path.join(path, "train_state.pt")))
    except FileNotFoundError:
        return {}  # a conversion has none
    except (OSError, ValueError) as error:
        return {"counters": f"not recorded: {error}"}
    counters = {
        key: value
        for key, value in counters.items()
        if not isinstance(value, bool) and key != "step"
    }
    samples = counters.get("consumed_train_samples")
    if samples is not None and config.sequence is not None:
        counters["consumed_train_tokens"] = samples * config.sequence  # at most: padding counts
    return counters


# --------------------------------------------------------------------- loading


def _loading(call: Call) -> None:
    """Remember the configuration that a load goes by; the hook of the load has none."""
    hooks = session.hooks()
    checkpoint = getattr(getattr(call["state"], "cfg", None), "checkpoint", None)
    if hooks is not None and checkpoint is not None:
        hooks.state(_Bridge).live = BridgeConfig(
            save=_path(checkpoint, "save"),
            pretrained=_path(checkpoint, "pretrained_checkpoint"),
            finetune=bool(getattr(checkpoint, "finetune", False)),
        )


def _loaded(call: Call) -> None:
    """Record the checkpoint that training goes on from."""
    hooks = session.hooks()
    if hooks is None or not isinstance(call["checkpoint_path"], str):
        return
    path, loaded_from = absolute(call["checkpoint_path"]), absolute(call["load_dir"])
    bridge = hooks.state(_Bridge)
    bridge.loads.append((path, loaded_from))
    live = bridge.live
    if live is not None:
        # beside the checkpoints to come, before any of them; with the store where none will come
        folder = None if live.save is None else absolute(live.save)
        hooks.write(folder, lambda recorder: _record_loads(recorder, bridge, live))


def _record_loads(recorder: Recorder, bridge: _Bridge, config: BridgeConfig) -> None:
    while bridge.loads:
        path, folder = bridge.loads.pop(0)
        nothing_follows = bridge.live is not None and bridge.live.save is None
        role = "eval" if nothing_follows else (bridge.live or config).role(folder)
        recorder.record_use(path, role)
        bridge.has_loaded = True


def _record_hub_start(recorder: Recorder, bridge: _Bridge, config: BridgeConfig) -> None:
    """Record a start from a Hugging Face model, which no hook tells of."""
    start = asset(config.pretrained, "init")
    if start is None or bridge.has_loaded:
        return
    is_folder = isinstance(start.target, str) and os.path.isfile(
        os.path.join(start.target, "config.json")
    )
    if is_folder or not isinstance(start.target, str):
        recorder.record_use(start.target, "init")


# -------------------------------------------------------------------- deleting


class _Cleanup(NamedTuple):
    """What there was before retention deleted some of it."""

    folder: str
    known: set[str]
    threads: list[threading.Thread]


def _before_cleanup(call: Call) -> _Cleanup | None:
    hooks = session.hooks()
    if hooks is None or not session.is_first_rank():
        return None
    folder = os.path.abspath(call["save_dir"])
    return _Cleanup(folder, _checkpoints(folder), threading.enumerate())


def _after_cleanup(call: Call, before: _Cleanup | None) -> None:
    """Record the checkpoints that retention deleted, also when a thread does so later."""
    hooks = session.hooks()
    if hooks is None or before is None or not before.known:
        return
    kept = call["leave_ckpt_num"]
    reason = f"retention keeps {1 if kept is None else kept}"
    left = set(before.known)

    def look(recorder: Recorder) -> None:
        gone = set(filter(is_gone, left))
        left.difference_update(gone)
        for path in sorted(gone):
            recorder.record_deleted(path, reason)

    if not call["do_async"]:
        left.difference_update(_checkpoints(before.folder))
        if left:
            hooks.write(before.folder, look)
        return
    deleting = [
        each for each in threading.enumerate() if each not in before.threads and not each.daemon
    ]

    def look_last(recorder: Recorder) -> None:
        if hooks.is_mine and any(thread.is_alive() for thread in deleting):
            hooks.later(before.folder, look_last, _LAST_LOOK)  # a large one on a slow filesystem
        else:
            for thread in deleting:
                thread.join(_PATIENCE)
        look(recorder)

    for seconds in _LOOKS:
        hooks.later(before.folder, look, seconds)
    hooks.later(before.folder, look_last, _LAST_LOOK)


def _checkpoints(folder: str) -> set[str]:
    """Return the ``iter_*`` folders in a folder and in those below: older releases reach there."""
    found = set()
    stack = [(folder, 1)]
    while stack:
        here, depth = stack.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    if entry.name.startswith("iter_"):
                        found.add(entry.path)
                    elif depth and not entry.name.startswith(".") and entry.is_dir():
                        stack.append((entry.path, depth - 1))
        except OSError:
            continue  # nothing was saved there yet
    return found


# --------------------------------------------------------------------- helpers


def _listen(_: Call, __: Any, manager: Any) -> None:
    """Have the run's own callbacks tell of losses, where there are any (an empty list will do)."""
    hooks = session.hooks()
    if manager is None or hooks is None:
        return
    losses = hooks.state(_Bridge).losses

    def note(name: str, values: Any) -> None:
        # what a callback raises ends training
        for key, value in values.items() if isinstance(values, dict) else ():
            losses[name if key == "lm loss" else f"{name} {key}"] = value

    manager.register(
        "on_train_step_end", lambda context: note("loss", getattr(context, "loss_dict", None))
    )
    manager.register(
        "on_eval_end",
        lambda context: note("validation_loss", getattr(context, "total_loss_dict", None)),
    )


def _number(value: Any) -> float | None:
    """Bring a loss down to a number: a tensor of one, or of a sum and a count."""
    try:
        numbers = [float(each) for each in value.tolist()] if getattr(value, "ndim", 0) else None
        if numbers is None:
            return float(value)
        return numbers[0] / numbers[1] if len(numbers) == 2 and numbers[1] else numbers[0]
    except (TypeError, ValueError, IndexError, RuntimeError):
        return None


def _path(section: Any, name: str) -> str | None:
    value = getattr(section, name, None)
    return os.fspath(value) if isinstance(value, (str, os.PathLike)) and value else None


_UTILS = "megatron.bridge.training.utils.wandb_utils"
_CHECKPOINTING = "megatron.bridge.training.checkpointing"
_HOME = "https://github.com/NVIDIA-NeMo/Megatron-Bridge"
_SHIPPED: dict[str, Any] = {
    "package": "megatron.bridge",
    "distribution": "megatron-bridge",
    "install": "pip install megatron-bridge",
    "versions": ">=0.2,<0.8",
}

PATCHES = (
    Patch(
        name="megatron-bridge-save",
        **_SHIPPED,
        target=f"{_UTILS}:on_save_checkpoint_success",
        parameters=("checkpoint_path", "save_dir", "iteration", "wandb_writer"),
        before=_saved,
        why="each checkpoint becomes a version, with its step and what it was made from",
        upstream=f"{_HOME}/pull/2905",
        remove_when="on_checkpoint_save carries the path of the checkpoint",
    ),
    Patch(
        name="megatron-bridge-load",
        **_SHIPPED,
        target=f"{_UTILS}:on_load_checkpoint_success",
        parameters=("checkpoint_path", "load_dir", "wandb_writer"),
        before=_loaded,
        why="the checkpoint that was loaded is an input of what is saved later",
        upstream=f"{_HOME}/blob/main/src/megatron/bridge/training/utils/wandb_utils.py",
        remove_when="a callback tells of loads",
    ),
    Patch(
        name="megatron-bridge-load-config",
        **_SHIPPED,
        target=f"{_CHECKPOINTING}:_load_checkpoint_from_path",
        parameters=("load_dir", "state"),
        before=_loading,
        is_optional=True,
        why="the configuration says whether a load resumes or starts anew",
        upstream=f"{_HOME}/blob/main/src/megatron/bridge/training/checkpointing.py",
        remove_when="a callback tells of loads",
    ),
    Patch(
        name="megatron-bridge-retention",
        **_SHIPPED,
        target=f"{_CHECKPOINTING}:cleanup_old_non_persistent_checkpoint",
        parameters=("save_dir", "leave_ckpt_num", "do_async"),
        before=_before_cleanup,
        always=_after_cleanup,
        why="checkpoints that most_recent_k deletes get an end",
        upstream=f"{_HOME}/blob/main/src/megatron/bridge/training/checkpointing.py",
        remove_when="a callback tells of deletions",
    ),
    Patch(
        name="megatron-bridge-losses",
        **{**_SHIPPED, "versions": ">=0.3,<0.8"},
        target="megatron.bridge.training.pretrain:normalize_callbacks",
        parameters=("callbacks",),
        after=_listen,
        is_optional=True,
        why="the last losses, where the run has callbacks",
        upstream=f"{_HOME}/blob/main/src/megatron/bridge/training/callbacks.py",
        remove_when="a checkpoint holds its losses",
    ),
)
