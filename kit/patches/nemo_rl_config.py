"""What a NeMo-RL checkpoint's ``config.yaml`` and ``training_info.json`` tell about its run."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .assets import LARGEST, Asset, asset, read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["RLConfig", "checkpoints", "read_info", "read_rl_config"]

_STEP = re.compile(r"step_(\d+)")
# in every release read: data_path under train and validation, or *_data_path; hub names alone
_PATHS = re.compile(r"(train_|val_)?data_paths?")
_OF_AN_ITERATION = ("run_config.yaml", "metadata.json")  # in no root folder
_WORD = 100  # characters; the file holds a number, or "release"
_ALGORITHMS = ("grpo", "ppo", "dpo", "sft", "rm", "distillation")


@dataclass(frozen=True, slots=True)
class RLConfig:
    """The part of a configuration that lineage needs.

    Attributes:
        algorithm: ``grpo``, ``sft``, ``dpo``, ...
        experiment: what the run is called for W&B, or None.
        start: the model that training starts from, where it does not resume.
        assets: data, tokenizer, teacher and reward model.
    """

    algorithm: str | None = None
    experiment: str | None = None
    start: Asset | None = None
    assets: tuple[Asset, ...] = ()

    @classmethod
    def read(cls, config: Mapping[str, Any]) -> RLConfig:
        """Read the mapping that the file holds."""
        checkpoint = _at(config, "checkpointing", "pretrained_checkpoint", "path")
        experiment = _at(config, "logger", "wandb", "name")
        return cls(
            algorithm=next((name for name in _ALGORITHMS if name in config), None),
            experiment=experiment if isinstance(experiment, str) else None,
            start=asset(_iteration(checkpoint) or _at(config, "policy", "model_name"), "init"),
            assets=tuple(each for each in _assets(config) if each is not None),
        )


def read_rl_config(path: str) -> RLConfig:
    """Read the file; one that is not there tells nothing.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no YAML mapping, or too large for a hook.
    """
    found = read_yaml(path)
    return RLConfig() if found is None else RLConfig.read(found)


def read_info(path: str) -> dict[str, Any]:
    """Read ``training_info.json``; NeMo-RL writes NaN as such.

    Raises:
        OSError: it cannot be read.
        ValueError: it holds no JSON mapping, or more than a version's metadata may.
    """
    file = os.path.join(path, "training_info.json")
    with open(file, "rb") as opened:
        text = opened.read(LARGEST // 2 + 1)
    if len(text) > LARGEST // 2:  # as text of a record it may be longer
        raise ValueError(f"{file} has more than {LARGEST // 2:,} bytes")
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError(f"{file} holds no mapping")  # noqa: TRY004 - the file is at fault
    return found


def checkpoints(folder: str) -> dict[int, str]:
    """Map the steps of the finished checkpoints in a folder to their paths."""
    try:
        names = os.listdir(folder)
    except OSError:
        return {}
    steps = ((_STEP.fullmatch(name), name) for name in names)
    return {int(found[1]): os.path.join(folder, name) for found, name in steps if found}


def _iteration(path: Any) -> Any:
    """Return the checkpoint that Megatron's path means: of a root folder, the one it names newest.

    As ``validate_model_paths`` of NeMo-RL does.
    """
    if not isinstance(path, str) or "://" in path or not os.path.isdir(path):
        return path
    if any(os.path.exists(os.path.join(path, name)) for name in _OF_AN_ITERATION):
        return path
    try:
        with open(
            os.path.join(path, "latest_checkpointed_iteration.txt"), encoding="ascii"
        ) as file:
            newest = file.read(_WORD).strip()
    except FileNotFoundError:
        found = [name for name in os.listdir(path) if name.startswith("iter_")]
        return os.path.join(path, max(found)) if found else path
    return os.path.join(path, f"iter_{int(newest):07d}" if newest.isdigit() else newest)


def _assets(config: Mapping[str, Any]) -> Iterator[Asset | None]:
    yield from _data(config.get("data"), None)
    yield asset(_at(config, "policy", "tokenizer", "name"), "tokenizer")
    yield asset(_at(config, "teacher", "model_name"), "teacher")
    environments = config.get("env")
    for section in environments.values() if isinstance(environments, dict) else ():
        yield asset(_at(section, "model_name"), "reward")


def _data(section: Any, split: str | None) -> Iterator[Asset | None]:
    """Walk through the data section; releases nest it differently."""
    if isinstance(section, list):
        for each in section:
            yield from _data(each, split)
    if not isinstance(section, dict):
        return
    for key, value in section.items():
        here = "train" if key.startswith("train") else "validation" if "val" in key else split
        if _PATHS.fullmatch(key):
            values = value.values() if isinstance(value, dict) else (value,)
            for each in values:
                yield asset(each, "data", split=here)
        elif key == "dataset_name" and isinstance(value, str) and "/" in value:
            yield asset(value, "data", split=here)
        else:
            yield from _data(value, here)


def _at(config: Any, *keys: str) -> Any:
    for key in keys:
        config = config.get(key) if isinstance(config, dict) else None
    return config
