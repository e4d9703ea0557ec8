"""Runs one case of a NeMo-RL driver: saves checkpoints of no weights with a CheckpointManager.

    python scenario.py CASE FOLDER

``nemo_rl`` is the real one, or a stand-in, by PYTHONPATH.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nemotron.kit as kit

CONFIG = {
    "policy": {"model_name": "org/base", "tokenizer": {"name": "org/tokenizer"}},
    "teacher": {"model_name": "org/teacher"},
    "env": {"reward_model": {"model_name": "org/reward"}, "math": {"num_workers": 8}},
    "data": {
        "train": {"dataset_name": "OpenMathInstruct-2"},
        "validation": {"data_path": "org/validation"},
        "default": {"dataset_name": "ResponseDataset"},
    },
    "logger": {"wandb": {"name": "rl-of-today", "project": "p"}},
    "grpo": {"seed": 1},
}


def main(case: str, folder: Path) -> None:
    """Run a case."""
    with kit.track(name="rl" if case == "named" else None, artifact_name=NAMES.get(case)):
        CASES[case](folder)


def manager(folder: Path, **config: Any) -> Any:
    """Make a manager; imported after ``track``, which must not import it."""
    assert "nemo_rl" not in sys.modules
    from nemo_rl.utils.checkpoint import CheckpointManager

    known = {
        "enabled": True, "checkpoint_dir": str(folder), "metric_name": "val:accuracy",
        "higher_is_better": True, "save_period": 1, "keep_top_k": None, "save_optimizer": True,
    }  # fmt: skip
    return CheckpointManager({**known, **config})


def save(
    made: Any, step: int, accuracy: float | None = None, *, sync: bool = False,
    wait: Callable[[], None] | None = None, config: Any = None,
) -> None:  # fmt: skip
    """Save as the algorithms of this generation do."""
    if hasattr(made, "finalize_pending"):
        made.finalize_pending()
    info = {"total_steps": step, "consumed_samples": step * 8}
    if accuracy is not None:
        info["val:accuracy"] = accuracy
    path = made.init_tmp_checkpoint(step, info, _as_the_class_takes_it(made, config))
    if sync or not hasattr(made, "begin_finalization"):
        made.finalize_checkpoint(path)
    else:
        made.begin_finalization(path, wait)


def end(made: Any) -> None:
    """Wait for everything that is under way."""
    if hasattr(made, "shutdown"):
        made.shutdown()


def _as_the_class_takes_it(made: Any, config: Any) -> Any:
    """0.7.0 and later take a pydantic model, the others and the stand-ins a mapping."""
    import inspect

    source = inspect.getsource(type(made).init_tmp_checkpoint)
    if config is None or "model_dump" not in source:
        return config
    return SimpleNamespace(model_dump=lambda: config)


def three(folder: Path) -> None:
    """Three checkpoints, as this generation finishes them."""
    made = manager(folder)
    for step in (1, 2, 3):
        save(made, step, step / 10, config=CONFIG)
    end(made)


def three_in_turn(folder: Path) -> None:
    """Three checkpoints by ``finalize_checkpoint``, which every generation has."""
    made = manager(folder)
    for step in (1, 2, 3):
        save(made, step, sync=True)
    end(made)


def keep_the_best(folder: Path) -> None:
    """The first is the best; the second is pruned."""
    made = manager(folder, keep_top_k=1)
    for step, accuracy in ((1, 0.9), (2, 0.5), (3, 0.4)):
        save(made, step, accuracy)
    end(made)


def lose_the_best(folder: Path) -> None:
    """The best is deleted, whoever did it; then comes the best of those that are left."""
    made = manager(folder)
    for step, accuracy in ((1, 0.9), (2, 0.5)):
        save(made, step, accuracy)
    end(made)
    shutil.rmtree(folder / "step_1")
    save(made, 3, 0.7)
    end(made)


def tie(folder: Path) -> None:
    """Of two that are equally good the manager keeps the newer one."""
    made = manager(folder, keep_top_k=1)
    for step, accuracy in ((1, 0.5), (2, 0.5), (3, 0.4)):
        save(made, step, accuracy)
    end(made)


def save_worse_again(folder: Path) -> None:
    """The best step is saved again, and is the best no more."""
    made = manager(folder)
    for step, accuracy in ((1, 0.5), (2, 0.9), (2, 0.4)):
        save(made, step, accuracy)
    end(made)


def write_into_the_best(folder: Path) -> None:
    """Somebody writes into a checkpoint, and then it becomes the best one."""
    made = manager(folder)
    for step, accuracy in ((1, 0.5), (2, 0.9)):
        save(made, step, accuracy)
    end(made)
    (folder / "step_1" / "scores.json").write_text("{}")
    save(made, 2, 0.4)
    end(made)


def from_megatron(folder: Path) -> None:
    """Start from the newest of a folder of Megatron checkpoints."""
    start = {"path": str(folder.parent / "nano3"), "format": "megatron_bridge"}
    made = manager(folder)
    save(made, 1, config={**CONFIG, "checkpointing": {"pretrained_checkpoint": start}})
    end(made)


def large(folder: Path) -> None:
    """A checkpoint tells more than a record can hold."""
    made = manager(folder)
    path = made.init_tmp_checkpoint(1, {"total_steps": 1, "seen": ["x" * 1000] * 2000}, None)
    made.finalize_checkpoint(path)
    end(made)


def save_again(folder: Path) -> None:
    """A step is saved a second time with other content."""
    made = manager(folder)
    save(made, 3, 0.4)
    save(made, 3, 0.45)
    end(made)


def go_back(folder: Path) -> None:
    """A run that went back saves a lower step, which its own end prunes."""
    made = manager(folder, keep_top_k=1, metric_name=None)
    save(made, 5)
    save(made, 2)
    end(made)


def fail(folder: Path) -> None:
    """The writers of a checkpoint fail."""

    def broken() -> None:
        raise OSError("disk full")

    made = manager(folder)
    save(made, 1)
    save(made, 2, wait=broken)
    try:
        made.finalize_pending()
    except RuntimeError as error:
        assert "finalization failed" in str(error)  # noqa: PT017 - this is no test function
    else:
        raise AssertionError("the failure was hidden")


def keep_the_latest(folder: Path) -> None:
    """Checkpoints for recovery: the last one stays, and every tenth."""
    made = manager(folder, ft_keep_latest_k=1, save_period=10)
    for step in (9, 10, 11, 12):
        save(made, step)
    end(made)


def prune_the_best(folder: Path) -> None:
    """The best of all is one for recovery, and goes; then another one is the best."""
    made = manager(folder, ft_keep_latest_k=1, save_period=10)
    for step, accuracy in ((10, 0.5), (11, 0.9), (12, 0.4)):
        save(made, step, accuracy)
    end(made)


def resume(folder: Path) -> None:
    """Go on from the newest checkpoint."""
    made = manager(folder)
    last = (
        made.get_latest_checkpoint_path() if hasattr(made, "get_latest_checkpoint_path") else None
    )
    assert made.load_training_info(last or folder / "step_3")["total_steps"] == 3
    save(made, 4, 0.05, config=CONFIG)
    end(made)


def start(folder: Path) -> None:
    """Start anew: there is nothing to load."""
    made = manager(folder)
    assert made.load_training_info(None) is None
    save(made, 1, float("nan"), config=CONFIG)
    end(made)


CASES: dict[str, Callable[[Path], None]] = {
    "three": three, "three_in_turn": three_in_turn, "keep_the_best": keep_the_best,
    "save_again": save_again, "go_back": go_back, "fail": fail, "resume": resume, "start": start,
    "keep_the_latest": keep_the_latest, "lose_the_best": lose_the_best, "large": large,
    "prune_the_best": prune_the_best, "tie": tie, "save_worse_again": save_worse_again,
    "from_megatron": from_megatron, "write_into_the_best": write_into_the_best,
    "named": three, "given": three,
}  # fmt: skip
NAMES = {"given": "my-policy"}

if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
